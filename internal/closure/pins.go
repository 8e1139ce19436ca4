// SPDX-License-Identifier: Apache-2.0

package closure

import (
	"fmt"
	"slices"

	"kmend/internal/delta"
	"kmend/internal/insn"
)

// pinConstant notes a reference by which the kernel may come to keep the
// address of a string or constant of the module: a name given to a device, an
// extended error message. It would dangle once the module is unloaded. What is
// only read on the spot, or given to a function that keeps nothing, does not.
func (c *Closure) pinConstant(it *delta.Item, r *delta.Ref) {
	switch {
	case it.Kind == delta.DebugSite || it.Kind == delta.AltAux:
		return // the module's own table, taken out of the kernel with it
	case r.Target.Item != nil && r.Target.Item.Size == 0:
		return // nothing is there (lock class keys of a kernel without lockdep)
	case it.Kind.IsCode() && !escapes(it, r):
		return
	}
	if c.constants[it] == nil {
		c.holders = append(c.holders, it)
	}
	if name := r.String(); !slices.Contains(c.constants[it], name) {
		c.constants[it] = append(c.constants[it], name)
	}
}

func (c *Closure) pin(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(c.Pins, text) {
		c.Pins = append(c.Pins, text)
	}
}

// pinHolders turns what pinConstant noted into words.
func (c *Closure) pinHolders() {
	for _, it := range c.holders {
		switch names := c.constants[it]; len(names) {
		case 1:
			c.pin("%s holds or passes on the address of %s", it.Name, names[0])
		default:
			c.pin("%s holds or passes on the addresses of %d constants, such as %s", it.Name, len(names), names[0])
		}
	}
}

// keepNothing are functions that use all pointers to constants they are given
// before they return, and return none of them. kstrdup_const and kvasprintf_const
// (mm/util.c, lib/kasprintf.c) keep pointers into the kernel's own rodata only.
var keepNothing = map[string]bool{
	"_printk": true, "_printk_deferred": true, "__warn_printk": true, "panic": true, "printk": true,
	"_dev_emerg": true, "_dev_alert": true, "_dev_crit": true, "_dev_err": true, "_dev_warn": true, "_dev_notice": true, "_dev_info": true, "_dev_printk": true,
	"dev_err_probe": true, "dev_set_name": true, "kobject_set_name": true,
	"netdev_emerg": true, "netdev_alert": true, "netdev_crit": true, "netdev_err": true, "netdev_warn": true, "netdev_notice": true, "netdev_info": true, "netdev_printk": true,
	"__dynamic_pr_debug": true, "__dynamic_dev_dbg": true, "__dynamic_netdev_dbg": true, "__dynamic_ibdev_dbg": true,
	"seq_printf": true, "seq_puts": true, "seq_write": true, "seq_escape_mem": true, "seq_path": true, "seq_path_root": true, "seq_file_path": true, "seq_dentry": true,
	"seq_put_decimal_ull": true, "seq_put_decimal_ll": true, "seq_put_hex_ll": true, "string_escape_mem": true, "sysfs_emit": true, "sysfs_emit_at": true,
	"sprintf": true, "snprintf": true, "scnprintf": true, "kasprintf": true, "kstrdup": true, "kstrdup_const": true, "kmemdup": true,
	"strcmp": true, "strncmp": true, "strcasecmp": true, "strncasecmp": true, "strlen": true, "strnlen": true, "memcmp": true, "sysfs_streq": true, "sscanf": true,
	"bt_info": true, "bt_warn": true, "bt_err": true, "bt_err_ratelimited": true, "__drm_err": true, "__drm_dbg": true, "drm_dev_printk": true, "__drm_dev_dbg": true,
	"audit_log_format": true, "__mlog_printk": true, "fortify_panic": true,
	"strscpy": true, "strlcpy": true, "strlcat": true, "_copy_to_user": true, "__ubsan_handle_out_of_bounds": true,
}

// escapes reports whether code makes the referenced address a value that may
// be kept: anything but a read of what is there, a comparison, or an argument
// of a function that keeps nothing.
func escapes(it *delta.Item, r *delta.Ref) bool {
	if r.Inner || r.Branch {
		return r.Inner
	}
	code := it.Data()
	at, in, ok := instructionOf(code, r.Offset)
	if !ok {
		return true
	}
	reg, taken, ok := takesAddress(code[at:], in, int(r.Offset)-at)
	if !taken {
		return false
	}
	t := trace{it: it, code: code, seen: map[place]bool{}}
	if reg == noRegister { // pushed: the next call takes it
		return !ok || !t.pushed(at+in.Len)
	}
	return !ok || t.follow(place{at + in.Len, regs(0).with(reg)})
}

// instructionOf finds the instruction with a field at off.
func instructionOf(code []byte, off uint64) (at int, in insn.Inst, ok bool) {
	for at < len(code) {
		in, err := insn.Decode(code[at:])
		if err != nil {
			return 0, in, false
		}
		if off < uint64(at+in.Len) {
			return at, in, true
		}
		at += in.Len
	}
	return 0, in, false
}

// takesAddress says what an instruction does with the address in its field at
// off. taken is false if it only reads or compares. ok is true if it puts the
// address into reg, or pushes it (noRegister), and nowhere else.
func takesAddress(code []byte, in insn.Inst, off int) (reg int, taken, ok bool) {
	rex, op := prefix(code, in), code[in.OpcodeOff]
	m := modrm(code, in.OpcodeOff+1, rex)
	switch in.FieldAt(off, 4) {
	case insn.FieldDisp:
		return m.reg, op == 0x8d, op == 0x8d // lea
	case insn.FieldImm:
		switch {
		case op >= 0xb8 && op <= 0xbf: // mov $address, %reg
			return int(op&7 | rex&1<<3), true, true
		case op == 0xc7: // mov $address, %reg or memory
			return m.rm, true, m.direct
		case op == 0x68: // push $address
			return noRegister, true, true
		case op == 0x3d, op == 0x81 && m.reg&7 == 7: // cmp $address
			return 0, false, false
		}
	}
	return 0, true, false
}

// operands are the registers a ModRM byte names; rm and index are noRegister
// where there is none.
type operands struct {
	reg, rm, index int
	direct         bool // rm is a register operand, not the base of a memory operand
}

func prefix(code []byte, in insn.Inst) byte {
	if in.OpcodeOff > 0 && code[in.OpcodeOff-1]&0xf0 == 0x40 {
		return code[in.OpcodeOff-1]
	}
	return 0
}

// modrm decodes the byte at off (SDM volume 2, 2.1.3 and 2.2.1.2).
func modrm(code []byte, off int, rex byte) operands {
	if off >= len(code) {
		return operands{noRegister, noRegister, noRegister, false}
	}
	b := code[off]
	o := operands{reg: int(b>>3&7 | rex<<1&8), rm: int(b&7 | rex<<3&8), index: noRegister, direct: b>>6 == 3}
	switch {
	case o.direct:
	case b&7 == 4 && off+1 < len(code):
		sib := code[off+1]
		o.rm = int(sib&7 | rex<<3&8)
		if i := int(sib>>3&7 | rex<<2&8); i != regRSP {
			o.index = i
		}
		if sib&7 == 5 && b>>6 == 0 {
			o.rm = noRegister
		}
	case b&7 == 5 && b>>6 == 0:
		o.rm = noRegister // relative to RIP
	}
	return o
}
