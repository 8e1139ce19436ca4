// SPDX-License-Identifier: Apache-2.0

package types

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// maxDepth bounds nesting by value and of pointers, maxWork the text written for
// one side: BTF from a damaged file can describe types that contain themselves,
// or that double with each level. The largest kernel files need some MB.
const (
	maxDepth = 64
	maxWork  = 32 << 20
)

// describer puts types into words that are equal exactly when code compiled for
// one works with the other: sizes, offsets, encodings. Names of typedefs and
// integer types do not count, names of structures, unions and enums behind
// pointers do, and what they contain does not: they are compared on their own.
type describer struct {
	memo map[btf.Type]string // layouts
	work int                 // bytes written so far
}

// spend guards each step: depth levels deep, n bytes of text.
func (d *describer) spend(depth, n int) error {
	d.work += n + 16
	if depth > maxDepth || d.work > maxWork {
		return errors.New("compare types: BTF is damaged, a type has no end")
	}
	return nil
}

// layout describes a structure, union or enum itself.
func (d *describer) layout(t btf.Type, depth int) (string, error) {
	if err := d.spend(depth, 0); err != nil {
		return "", err
	}
	if s, ok := d.memo[t]; ok {
		return s, nil
	}
	var b strings.Builder
	switch t := t.(type) {
	case *btf.Struct:
		fmt.Fprintf(&b, "struct, %d bytes {\n", t.Size)
		if err := d.members(&b, t.Members, depth); err != nil {
			return "", err
		}
	case *btf.Union:
		fmt.Fprintf(&b, "union, %d bytes {\n", t.Size)
		if err := d.members(&b, t.Members, depth); err != nil {
			return "", err
		}
	case *btf.Enum:
		fmt.Fprintf(&b, "enum, %d bytes {\n", t.Size)
		for _, v := range t.Values {
			fmt.Fprintf(&b, "\t%s = %d\n", v.Name, enumValue(t, v.Value))
		}
	default:
		return "", fmt.Errorf("compare types: %T has no layout", t)
	}
	b.WriteString("}")
	d.memo[t] = b.String()
	return b.String(), d.spend(depth, b.Len())
}

// enumValue takes only the bits that the enum's size has: GCC 12 writes values of
// 32 bits, whose sign cilium extends.
func enumValue(t *btf.Enum, v uint64) int64 {
	if t.Size <= 4 {
		return int64(int32(uint32(v)))
	}
	return int64(v)
}

func (d *describer) members(b *strings.Builder, ms []btf.Member, depth int) error {
	for _, m := range ms {
		desc, err := d.use(m.Type, depth+1)
		if err != nil {
			return err
		}
		fmt.Fprintf(b, "\t%d.%d", m.Offset/8, m.Offset%8)
		if m.BitfieldSize > 0 {
			fmt.Fprintf(b, ":%d", m.BitfieldSize)
		}
		if err := d.spend(depth, len(desc)); err != nil {
			return err
		}
		fmt.Fprintf(b, " %s %s\n", m.Name, strings.ReplaceAll(desc, "\n", "\n\t"))
	}
	return nil
}

// use describes a type where it is used by value: a named one by its name and a
// hash of its layout, an anonymous one in full.
func (d *describer) use(t btf.Type, depth int) (string, error) {
	if err := d.spend(depth, 0); err != nil {
		return "", err
	}
	switch t := t.(type) {
	case *btf.Struct, *btf.Union, *btf.Enum:
		if e, ok := t.(*btf.Enum); ok && e.Name != "" { // its values are compared under its name
			return fmt.Sprintf("enum %s of %d bytes", e.Name, e.Size), nil
		}
		text, err := d.layout(t, depth+1)
		if err != nil || t.TypeName() == "" {
			return text, err
		}
		sum := sha256.Sum256([]byte(text))
		return fmt.Sprintf("%s %s#%s", kind(t), t.TypeName(), hex.EncodeToString(sum[:6])), nil
	case *btf.Pointer:
		s, err := d.behind(t.Target, depth+1)
		return s + " *", err
	case *btf.Array:
		s, err := d.use(t.Type, depth+1)
		return fmt.Sprintf("%s [%d]", s, t.Nelems), err
	case *btf.Int:
		return intName(t), nil
	case *btf.Float:
		return fmt.Sprintf("float of %d bytes", t.Size), nil
	case *btf.Void:
		return "void", nil
	case *btf.Fwd:
		return fwdName(t), nil
	case *btf.FuncProto:
		return d.proto(t, depth+1)
	case *btf.Typedef:
		return d.use(t.Type, depth+1)
	case *btf.Const:
		return d.use(t.Type, depth+1)
	case *btf.Volatile:
		return d.use(t.Type, depth+1)
	case *btf.Restrict:
		return d.use(t.Type, depth+1)
	case *btf.TypeTag:
		return d.use(t.Type, depth+1)
	}
	return "", fmt.Errorf("compare types: BTF has a %T where a type is used", t)
}

// behind describes what a pointer leads to: a named type by its name only, since
// its layout is not part of the pointer.
func (d *describer) behind(t btf.Type, depth int) (string, error) {
	if err := d.spend(depth, 0); err != nil {
		return "", err
	}
	switch t := t.(type) {
	case *btf.Struct, *btf.Union, *btf.Enum:
		if t.TypeName() != "" {
			return kind(t) + " " + t.TypeName(), nil
		}
	case *btf.Const:
		return d.behind(t.Type, depth+1)
	case *btf.Volatile:
		return d.behind(t.Type, depth+1)
	case *btf.Restrict:
		return d.behind(t.Type, depth+1)
	case *btf.TypeTag:
		return d.behind(t.Type, depth+1)
	case *btf.Typedef:
		// The name stands for an anonymous type, which is compared under it.
		if a := anonymous(t); a != nil {
			return kind(a) + " " + t.Name, nil
		}
		return d.behind(t.Type, depth+1)
	case *btf.Array:
		s, err := d.behind(t.Type, depth+1)
		return fmt.Sprintf("%s [%d]", s, t.Nelems), err
	}
	return d.use(t, depth)
}

func (d *describer) proto(t *btf.FuncProto, depth int) (string, error) {
	ret, err := d.use(t.Return, depth+1)
	if err != nil {
		return "", err
	}
	var ps []string
	for _, p := range t.Params {
		s, err := d.use(p.Type, depth+1)
		if err != nil {
			return "", err
		}
		if err := d.spend(depth, len(s)); err != nil {
			return "", err
		}
		ps = append(ps, s)
	}
	return fmt.Sprintf("%s (%s)", ret, strings.Join(ps, ", ")), nil
}

// anonymous returns the structure, union or enum without a name that a typedef
// names, nil for other typedefs.
func anonymous(t *btf.Typedef) btf.Type {
	switch u := t.Type.(type) {
	case *btf.Struct, *btf.Union, *btf.Enum:
		if u.TypeName() == "" {
			return u
		}
	}
	return nil
}

func kind(t btf.Type) string {
	switch t.(type) {
	case *btf.Struct:
		return "struct"
	case *btf.Union:
		return "union"
	}
	return "enum"
}

func fwdName(t *btf.Fwd) string { return t.Kind.String() + " " + t.Name }

// intName names an integer by what it is, not by how it was spelled.
func intName(t *btf.Int) string {
	sign := "unsigned"
	if t.Encoding&btf.Signed != 0 || t.Encoding == btf.Signed {
		sign = "signed"
	}
	switch t.Encoding {
	case btf.Bool:
		return "bool"
	case btf.Char:
		sign = "char"
	}
	return fmt.Sprintf("%s %d", sign, t.Size*8)
}
