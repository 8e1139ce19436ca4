// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os/exec"
	"testing"

	"kmend/internal/kerneltest"
	"kmend/internal/vm"
	"kmend/internal/vm/vmtest"
)

// stageSystemd copies this machine's systemd with its libraries and the targets
// of a boot into a directory that becomes part of a guest.
func stageSystemd(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	vmtest.Programs(t, dir, "systemd", "/lib/systemd/systemd", "/usr/bin/systemctl")
	const script = `set -e
cd "$1"
mkdir -p usr/bin etc/systemd/system/default.target.wants
for u in sysinit basic multi-user local-fs shutdown umount sockets timers paths slices; do
	cp -L --parents /lib/systemd/system/$u.target .
done
cp lib/systemd/system/multi-user.target etc/systemd/system/default.target
printf '[Manager]\nDefaultStandardOutput=kmsg\nDefaultStandardError=kmsg\nLogTarget=kmsg\n' > etc/systemd/system.conf
echo 0123456789abcdef0123456789abcdef > etc/machine-id
`
	if out, err := exec.Command("sh", "-c", script, "sh", dir).CombinedOutput(); err != nil {
		t.Fatalf("stage systemd: %v\n%s", err, out)
	}
	return dir
}

// TestHostBoot: Debian's systemd, in a container of the guest, boots, and its
// kmend.service with all that it is forbidden loads what is installed for this
// build of the kernel.
func TestHostBoot(t *testing.T) {
	k := kerneltest.Open(t)
	one, _ := buildFix(t, k, "one", newline)
	two, _ := buildFix(t, k, "two", sub("fs/filesystems.c", "\tread_lock(&file_systems_lock);\n\ttmp = file_systems;\n\twhile (tmp) {\n\t\tseq_printf",
		"\tseq_puts(m, \"kmend\\n\");\n\tread_lock(&file_systems_lock);\n\ttmp = file_systems;\n\twhile (tmp) {\n\t\tseq_printf"))
	stage := stageSystemd(t)
	h := bootHost(t, k, func(m *vm.Machine) {
		m.MemoryMB = 1024
		m.Files = append(m.Files, rootFiles(t, stage)...)
	}, one, two, otherBuild(t, k, two))
	h.shell("cp /init /usr/bin/kmend; mount -t tmpfs none /run; chmod 755 /run; mkdir -p /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup")
	out := h.run(exitDone, "kmend install /root/kmend/other-build.ko /root/kmend/livepatch-one.ko; ls -l /etc/systemd/system/*.wants", `^livepatch_two: installed`, `^livepatch_one: installed`,
		`multi-user.target.wants:\n(.*\n)*.* kmend.service -> /etc/systemd/system/kmend.service`)
	h.want("install", out, `^livepatch_one: installed\n/etc`) // and no warnings
	h.run(exitDone, `cp -a /etc/systemd/system/multi-user.target.wants/* /etc/systemd/system/default.target.wants/
(container=kmend unshare -p -m -f --mount-proc=/proc /lib/systemd/systemd > /dev/null 2>&1 &)
for i in $(seq 200); do dmesg | grep -q 'Startup finished' && break; sleep 0.2; done; dmesg | grep -A100 'systemd.*running in system mode'`,
		`Starting kmend.service`, `livepatch: 'livepatch_one': patching complete`, `Finished kmend.service`)
	h.want("cmdline", h.shell(cmdlineNow), ` kmend$`)
	h.want("filesystems", h.shell("cat /proc/filesystems"), `^nodev\tsysfs`)
	if s := h.status(); len(s) != 1 || s["livepatch_one"].SinceFrom != "load" {
		t.Errorf("%+v", s)
	}
	h.quiet()
}
