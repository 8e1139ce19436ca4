// SPDX-License-Identifier: Apache-2.0

package insn

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

func code(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDecode(t *testing.T) {
	for _, c := range []struct {
		hex  string
		want Inst
	}{
		{"e8 fb ff ff ff", Inst{Len: 5, Op: Call, Rel: true, RelOff: 1, RelWidth: 4, Target: 0}},
		{"eb fe", Inst{Len: 2, Op: Jmp, Rel: true, RelOff: 1, RelWidth: 1, Target: 0}},
		{"2e 74 10", Inst{Len: 3, Op: Jcc, OpcodeOff: 1, Rel: true, RelOff: 2, RelWidth: 1, Target: 0x13, Cond: 4}},
		{"0f 8f 00 01 00 00", Inst{Len: 6, Op: Jcc, Rel: true, RelOff: 2, RelWidth: 4, Target: 0x106, Cond: 15}},
		{"48 c7 05 01 02 03 04 05 06 07 08", Inst{Len: 11, OpcodeOff: 1, RIPRel: true, DispOff: 3, DispLen: 4, ImmOff: 7, ImmLen: 4}},
		{"49 b9 01 02 03 04 05 06 07 08", Inst{Len: 10, OpcodeOff: 1, ImmOff: 2, ImmLen: 8}},
		{"66 83 3d 01 02 03 04 05", Inst{Len: 8, OpcodeOff: 1, RIPRel: true, DispOff: 3, DispLen: 4, ImmOff: 7, ImmLen: 1}},
		{"c8 01 02 03", Inst{Len: 4, ImmOff: 1, ImmLen: 3}},
		{"48 66 b8 01 02", Inst{Len: 5, OpcodeOff: 2, ImmOff: 3, ImmLen: 2}}, // REX before a prefix is void
		{"ff 25 01 02 03 04", Inst{Len: 6, Op: JmpInd, RIPRel: true, DispOff: 2, DispLen: 4}},
		{"41 ff d3", Inst{Len: 3, Op: CallInd, OpcodeOff: 1}},
		{"c3", Inst{Len: 1, Op: Ret}},
		{"cc", Inst{Len: 1, Op: Int3}},
		{"0f 0b", Inst{Len: 2, Op: UD}},
		{"f3 0f 1e fa", Inst{Len: 4, Op: Endbr64, OpcodeOff: 1}},
		{"f3 90", Inst{Len: 2, OpcodeOff: 1}}, // pause
		{"41 90", Inst{Len: 2, OpcodeOff: 1}}, // xchg %eax,%r8d
		{"87 c0", Inst{Len: 2}},               // xchg %eax,%eax clears the upper half
		{"66 90", Inst{Len: 2, Op: Nop, OpcodeOff: 1}},
		{"66 66 2e 0f 1f 84 00 00 00 00 00", Inst{Len: 11, Op: Nop, OpcodeOff: 3, DispOff: 7, DispLen: 4}},
	} {
		got, err := Decode(code(t, c.hex))
		if err != nil || got != c.want {
			t.Errorf("Decode(%s) = %+v, %v; want %+v", c.hex, got, err, c.want)
		}
	}
}

func TestDecodeErrors(t *testing.T) {
	for s, want := range map[string]error{
		"":                       ErrTruncated,
		"e8 00 00 00":            ErrTruncated,
		"48":                     ErrTruncated,
		"0f":                     ErrTruncated,
		"62 f1 7c":               ErrTruncated,
		"8b 05 00 00 00":         ErrTruncated,
		"06":                     ErrUndefined,
		"9a 00 00 00 00 00 00":   ErrUndefined,
		"66 e8 00 00 00 00":      ErrUndefined,
		"66 c5 f8 77":            ErrUndefined,
		"8f e8 78 c0 00":         ErrUndefined,
		"ff ff":                  ErrUndefined,
		strings.Repeat("66", 15): ErrTooLong,
		strings.Repeat("2e", 20): ErrTooLong,
		"66 66 66 66 66 66 66 66 66 66 66 66 66 48 c7 00 00 00 00 00": ErrTooLong,
	} {
		if i, err := Decode(code(t, s)); !errors.Is(err, want) {
			t.Errorf("Decode(%s) = %+v, %v; want %v", s, i, err, want)
		}
	}
}

func TestFieldAt(t *testing.T) {
	i, err := Decode(code(t, "48 c7 05 01 02 03 04 05 06 07 08"))
	if err != nil {
		t.Fatal(err)
	}
	for off, want := range map[int]Field{2: NoField, 3: FieldDisp, 4: NoField, 7: FieldImm, 8: NoField} {
		if got := i.FieldAt(off, 4); got != want {
			t.Errorf("FieldAt(%d, 4) = %v, want %v", off, got, want)
		}
	}
	if got := i.FieldAt(7, 8); got != NoField {
		t.Errorf("FieldAt(7, 8) = %v", got)
	}
}

// The recommended multi-byte no-ops of the SDM (volume 2, NOP) and those that
// gas adds are padding; anything else ends it.
func TestPadding(t *testing.T) {
	pads := []string{"90", "66 90", "0f 1f 00", "0f 1f 40 00", "0f 1f 44 00 00", "66 0f 1f 44 00 00",
		"0f 1f 80 00 00 00 00", "0f 1f 84 00 00 00 00 00", "66 0f 1f 84 00 00 00 00 00",
		"66 2e 0f 1f 84 00 00 00 00 00", "66 66 2e 0f 1f 84 00 00 00 00 00", "cc"}
	all := strings.Join(pads, " ")
	if n := Padding(code(t, all)); n != len(code(t, all)) {
		t.Errorf("Padding of all no-ops is %d, want %d", n, len(code(t, all)))
	}
	if n := Padding(code(t, "cc 90 c3 90")); n != 2 {
		t.Errorf("Padding before ret is %d, want 2", n)
	}
	if n := Padding(code(t, "90 0f 1f 80 00")); n != 1 {
		t.Errorf("Padding before a cut no-op is %d, want 1", n)
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{"e8fbffffff", "48c7050102030405060708", "62f17c48100500000000", "c4e27df7c0", "6666666666"} {
		f.Add(code(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		i, err := Decode(b)
		if err != nil {
			if i != (Inst{}) {
				t.Fatalf("error %v with %+v", err, i)
			}
			return
		}
		if i.Len < 1 || i.Len > MaxLen || i.Len > len(b) {
			t.Fatalf("length %d of %d bytes", i.Len, len(b))
		}
		for _, field := range [][2]int{{i.RelOff, i.RelWidth}, {i.DispOff, i.DispLen}, {i.ImmOff, i.ImmLen}} {
			if field[1] > 0 && (field[0] < 1 || field[0]+field[1] > i.Len) {
				t.Fatalf("field at %d of %d bytes in %+v", field[0], field[1], i)
			}
		}
		if again, err := Decode(b[:i.Len]); err != nil || again != i {
			t.Fatalf("the instruction alone decodes to %+v, %v; want %+v", again, err, i)
		}
		if Padding(b) > len(b) {
			t.Fatal("padding beyond the code")
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	c := code(b, "48c70501020304050607080f1f44000074108b4424108b0501020304c5f877")
	b.SetBytes(int64(len(c)))
	for b.Loop() {
		for at := 0; at < len(c); {
			i, err := Decode(c[at:])
			if err != nil {
				b.Fatal(err)
			}
			at += i.Len
		}
	}
}
