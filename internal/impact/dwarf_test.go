// SPDX-License-Identifier: Apache-2.0

package impact

import (
	"os"
	"slices"
	"strings"
	"testing"

	"kmend/internal/dwarfscan"
	"kmend/internal/kbuild"
	"kmend/internal/kerneltest"
	"kmend/internal/object"
)

// dwarfUnits are translation units of the stock kernel, drawn at random from
// those with inlined copies: 56 of vmlinux, 2 of ext4, 2 of kvm. The first
// three are compiled always, the others if $KMEND_TEST_DWARF_UNITS is "all".
var dwarfUnits = strings.Fields(`
	kernel/cred.c mm/truncate.c fs/sysfs/file.c
	arch/x86/events/intel/lbr.c arch/x86/kernel/cpu/microcode/amd.c arch/x86/kernel/i8259.c arch/x86/kernel/itmt.c
	virt/kvm/kvm_main.c arch/x86/kvm/ioapic.c block/blk-settings.c
	drivers/acpi/acpica/extrace.c drivers/acpi/acpica/utcopy.c drivers/acpi/acpica/uthex.c drivers/acpi/acpica/utmutex.c
	drivers/base/pinctrl.c drivers/tty/serial/8250/8250_pnp.c drivers/video/fbdev/core/cfbfillrect.c
	fs/anon_inodes.c fs/debugfs/inode.c fs/ext4/fast_commit.c fs/ext4/fsmap.c fs/fsopen.c fs/iomap/iter.c
	fs/notify/fanotify/fanotify_user.c fs/notify/fsnotify.c fs/proc/page.c fs/pstore/platform.c
	kernel/async.c kernel/bpf/dispatcher.c kernel/bpf/log.c kernel/bpf/map_in_map.c kernel/bpf/percpu_freelist.c
	kernel/dma/pool.c kernel/jump_label.c kernel/locking/osq_lock.c kernel/signal.c kernel/time/ntp.c
	kernel/time/timeconv.c kernel/trace/ring_buffer.c kernel/workqueue.c lib/kfifo.c lib/zstd/decompress/zstd_decompress.c
	mm/hugetlb_vmemmap.c mm/ksm.c mm/mempool.c mm/page_isolation.c mm/process_vm_access.c mm/readahead.c mm/zpool.c
	net/ethtool/debug.c net/ipv4/tcp_ipv4.c net/ipv6/inet6_hashtables.c net/ipv6/sysctl_net_ipv6.c net/ipv6/tcp_ipv6.c
	net/netfilter/nf_queue.c net/netlink/policy.c net/sched/act_api.c net/xfrm/xfrm_replay.c
	security/apparmor/procattr.c security/lsm_audit.c`)

// TestDebugInformationAgrees: every inlined copy that DWARF has of a unit of the
// stock kernel is known from the dump of the same compile, whose account has
// more: copies of which no instruction is left.
func TestDebugInformationAgrees(t *testing.T) {
	k := kerneltest.Open(t)
	tree, err := kbuild.Open(k)
	if err != nil {
		t.Fatal(err)
	}
	sources := dwarfUnits[:3]
	if os.Getenv("KMEND_TEST_DWARF_UNITS") == "all" {
		sources = dwarfUnits
	}
	commands, err := tree.Commands(t.Context(), sources)
	if err != nil {
		t.Fatal(err)
	}
	var both, only int
	for _, c := range commands {
		r, err := tree.Compile(t.Context(), kbuild.Job{Command: c, Flags: []string{"-g"}, Bare: true})
		if err != nil {
			t.Fatal(err)
		}
		b, o := compareDebugInformation(t, c.Source, r)
		both += b
		only += o
	}
	t.Logf("%d units: %d pairs of function and host in both, %d in the dump only", len(commands), both, only)
	if both < 30*len(commands) || only < both/20 {
		t.Errorf("%d units: %d pairs in both, %d in the dump only: was this compiled as it should be?", len(commands), both, only)
	}
}

// pair is a function, without the marks of clones, which DWARF has not, and a
// symbol that holds a copy of it.
type pair struct{ callee, host string }

func compareDebugInformation(t *testing.T, source string, r *kbuild.Result) (both, only int) {
	t.Helper()
	obj, err := object.Read(r.Object)
	if err != nil {
		t.Fatal(err)
	}
	u, err := NewUnit(r.Clones, obj)
	if err != nil {
		t.Fatal(err)
	}
	dump := map[pair]bool{}
	for _, name := range u.Functions() {
		list, err := u.Impacted(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range list {
			if i.Chain[len(i.Chain)-1].Kind == Calls {
				continue // no copy
			}
			dump[pair{base(name), first(u, i.Symbol)}] = true
		}
	}
	f, err := dwarfscan.New(r.Object)
	if err != nil {
		t.Fatal(err)
	}
	units, err := f.Units(t.Context())
	if err != nil || len(units) != 1 {
		t.Fatalf("%s: %d units, %v", source, len(units), err)
	}
	dwarf := map[pair]bool{}
	for i, in := range units[0].Inlines {
		if in.Symbol == "" {
			t.Errorf("%s: %s holds a copy of %s, but no symbol is at its entry", source, in.Host, in.Callee)
		}
		p := pair{in.Callee, first(u, in.Symbol)}
		if p.callee == base(in.Symbol) {
			continue // a clone, which has a body of its own
		}
		if !dump[p] {
			t.Errorf("%s: %s was copied into %s says DWARF, not the dump: %q", source, in.Callee, in.Symbol, units[0].Chain(i))
		}
		dwarf[p] = true
	}
	for p := range dump {
		if !dwarf[p] && p.callee != base(p.host) {
			only++
		}
	}
	return len(dwarf), only
}

// first is one name for all function symbols of an address.
func first(u *Unit, symbol string) string {
	if f := u.Func(symbol); f != nil {
		return slices.Min(append([]string{symbol}, f.Twins...))
	}
	return symbol
}

// base is an assembler name without the marks of clones.
func base(name string) string {
	name, _, _ = strings.Cut(name, ".")
	return name
}
