// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"testing"

	"kmend/internal/kerneltest"
)

// TestReliabilityState is about what can befall the files: a full disk, damage,
// and a module that is replaced while it is being loaded.
func TestReliabilityState(t *testing.T) {
	t.Parallel()
	r := bootTwins(t, kerneltest.Open(t))
	var rows []string
	add := func(what string, n int) { rows = append(rows, row(what, "%d", n)) }
	r.must("mkdir -p /run/kmend /var/lib/kmend; chmod 755 /run /var /var/lib")
	step := 1
	damages := damages
	if cycles(t) < fullCount {
		step, damages = 6, damages[len(damages)-1:]
	}
	r.part("replaced", func() { add("a module replaced after it was read: ways", r.replacedMeanwhile(step)) })
	r.part("full run", func() { add("load and unload with so much room in /run/kmend: cases", r.fullRun(step)) })
	r.part("full var", func() {
		add("install, update, uninstall with so much room in /var/lib/kmend: cases", r.fullVar(step))
	})
	r.part("damaged", func() {
		for _, d := range damages {
			r.damagedState(d)
			r.damagedRecord(d)
		}
		add("kinds of damage to state.json and to records", len(damages))
	})
	r.table("what befalls files", rows)
	r.must("umount /run/kmend; umount /var/lib/kmend; true")
	r.end()
}

// part is a part of a test that shares its guest.
func (r *reliable) part(name string, do func()) {
	t := r.t
	t.Run(name, func(t *testing.T) {
		r.hosted.session.t = t
		do()
	})
	r.hosted.session.t = t
}

// runs tells which code is live, and which file kmend says that it is from.
func (r *reliable) runs(where, code, sameAs string) {
	r.t.Helper()
	out := strings.TrimSpace(r.must(cmdlineNow))
	if !strings.HasSuffix(out, code) {
		r.t.Errorf("%s: %q, want %q", where, out, code)
	}
	if sameAs != "" {
		sum, _, _ := strings.Cut(r.must("sha256sum "+sameAs), " ")
		r.want(where, r.must("kmend status livepatch_cmdline --json"), `"sha256": "`+sum)
	}
}

// replacedMeanwhile: the file is replaced when it was read and the kernel does
// not have it yet. What is loaded, installed and remembered is what was read.
func (r *reliable) replacedMeanwhile(step int) (ways int) {
	r.t.Helper()
	const file = "/root/kmend/x/livepatch-cmdline.ko"
	installed := "/var/lib/kmend/" + r.k.BuildID + "/livepatch_cmdline.ko"
	hows := []string{"cp %[1]s %[2]s.n && mv %[2]s.n %[2]s", "cat %[1]s > %[2]s", "rm %[2]s"}
	if step > 1 {
		hows = hows[1:2]
	}
	for _, how := range hows {
		replace := func(file string) string { return fmt.Sprintf(how, fileB, file) }
		r.must("mkdir -p /root/kmend/x; cp " + fileA + " " + file)
		r.must("/root/kmend/stepper at init_module '"+replace(file)+"' kmend load "+file, `^livepatch_cmdline: loaded`)
		r.runs("load, then "+how, codeA, fileA)
		r.must("kmend unload livepatch_cmdline; cp " + fileA + " " + file)

		r.must("/root/kmend/stepper at renameat '"+replace(file)+"' kmend install "+file, `^livepatch_cmdline: installed`)
		r.must("cmp " + fileA + " " + installed)
		r.must("/root/kmend/stepper at init_module '"+replace(installed)+"' kmend load --installed", `^livepatch_cmdline: loaded`)
		r.runs("load --installed, then "+how, codeA, fileA)
		r.must("kmend unload livepatch_cmdline")
		// Now it is another file before it is read.
		if code, out := r.ask("kmend load --installed"); code != exitFailed || !strings.Contains(out, "livepatch_cmdline") {
			r.t.Errorf("installed, then %s: exit %d, %s", how, code, out)
		}
		r.runs("installed and replaced before: "+how, old, "")
		r.must("kmend uninstall livepatch_cmdline")
		ways += 3
	}
	// The files could have been loaded, too.
	r.must("kmend load " + fileB)
	r.runs("the other one", codeB, fileB)
	r.must("kmend unload livepatch_cmdline")
	return ways
}

// small mounts a file system of its own with room for so many pages, or inodes.
func (r *reliable) small(dir, limit string) {
	r.t.Helper()
	r.must(fmt.Sprintf("umount %[1]s 2>/dev/null; mount -t tmpfs -o mode=755,%[2]s none %[1]s", dir, limit))
}

const fill = "dd if=/dev/zero of=/run/kmend/filler bs=4k 2>/dev/null; "

// fullRun: with little room a load is done or refused, and an unload is done.
func (r *reliable) fullRun(step int) (cases int) {
	r.t.Helper()
	for _, unit := range []string{"nr_blocks", "nr_inodes"} {
		done := false
		for n := 1; !done; n += step {
			cases++
			where := fmt.Sprintf("load with %s=%d", unit, n)
			r.small("/run/kmend", fmt.Sprintf("%s=%d", unit, n))
			code, out := r.ask("kmend load " + fileA)
			if code == 0 {
				done = true
				r.runs(where, codeA, fileA)
				// All that is left is used up, and out it must go.
				use := fill
				if unit == "nr_inodes" {
					use = "n=0; while true 2>/dev/null >/run/kmend/i$n; do n=$((n+1)); done; "
				}
				out := r.must(use + "kmend list >/dev/null && kmend unload livepatch_cmdline")
				r.want(where, out, `^livepatch_cmdline: unloaded`)
				r.runs(where, old, "")
				continue
			}
			if code != exitFailed || !strings.Contains(out, "no space left on device") {
				r.t.Errorf("%s: exit %d: %s", where, code, out)
			}
			r.runs(where, old, "")
			if out := r.must("grep livepatch_ /proc/modules; find /run/kmend -name '*.json' -o -name '.new-*'; true"); out != "" {
				r.t.Errorf("%s: left over: %s", where, out)
			}
		}
	}
	// The disk is full while it is loaded, whatever the room it had.
	r.small("/run/kmend", "size=1m")
	r.must("kmend load " + fileA + " && { " + fill + " true; }")
	r.want("unload with a full disk", r.must("kmend unload livepatch_cmdline 2>&1"), `remember module livepatch_cmdline: .*no space left`, `^livepatch_cmdline: unloaded`)
	r.runs("unload with a full disk", old, "")
	r.must("umount /run/kmend")
	return cases + 1
}

// fullVar: with little room what is installed is what was asked for, or what was
// installed before.
func (r *reliable) fullVar(step int) (cases int) {
	r.t.Helper()
	boots := func(where, code string) {
		r.t.Helper()
		r.must("kmend list --installed && kmend load --installed")
		r.runs(where, code, "")
		r.must("kmend unload livepatch_cmdline; [ -z \"$(find /var/lib/kmend -name '.new-*')\" ]")
	}
	try := func(where, command, before, after string) bool {
		r.t.Helper()
		cases++
		code, out := r.ask(command)
		if code == 0 {
			boots(where, after)
			return true
		}
		if code != exitFailed || !strings.Contains(out, "no space left on device") {
			r.t.Errorf("%s: exit %d: %s", where, code, out)
		}
		boots(where, before)
		return false
	}
	pages := func(n int) string { return fmt.Sprintf("nr_blocks=%d", n) }
	for n, done := 1, false; !done; n += step {
		r.small("/var/lib/kmend", pages(n))
		done = try("install with "+pages(n), "kmend install "+fileA, old, codeA)
	}
	for n, done := 0, false; !done; n += step { // n pages are left
		r.small("/var/lib/kmend", "size=1m")
		r.must("kmend install " + fileA)
		r.leave(n)
		done = try(fmt.Sprintf("update with %d pages", n), "kmend install "+fileB, codeA, codeB)
	}
	for n, done := 0, false; !done; n += step {
		r.small("/var/lib/kmend", "size=1m")
		r.must("kmend install " + fileA)
		r.leave(n)
		done = try(fmt.Sprintf("uninstall with %d pages", n), "kmend uninstall livepatch_cmdline", codeA, old)
	}
	r.must("umount /var/lib/kmend")
	return cases
}

// leave fills /var/lib/kmend up to some pages.
func (r *reliable) leave(pages int) {
	r.t.Helper()
	r.must(fmt.Sprintf("f=/var/lib/kmend/filler; dd if=/dev/zero of=$f bs=4k 2>/dev/null; truncate -s $(($(stat -c %%s $f) - %d)) $f", 4096*pages))
}

// damage is what becomes of a file; %s is the file.
type damage struct{ name, command string }

var damages = []damage{
	{"cut", "head -c 50 %[1]s > /tmp/c; cat /tmp/c > %[1]s"},
	{"empty", ": > %[1]s"},
	{"garbage", "head -c 3000 /dev/urandom > %[1]s"},
	{"wrong types", `echo '{"version":"1","modules":{"a":7},"name":[],"sha256":1}' > %[1]s`},
	{"null", "echo null > %[1]s"},
	{"another version", `sed -i 's/"version": 1/"version": 2/' %[1]s`},
	{"huge", "yes '[[[[' | head -c 3000000 > %[1]s"},
	{"link", "rm %[1]s; ln -s /etc/passwd %[1]s"},
	{"link to nowhere", "rm %[1]s; ln -s /nowhere %[1]s"},
	{"gone", "rm %[1]s"},
	{"pipe", "rm %[1]s; mkfifo %[1]s"},
	{"another owner", "chown nobody %[1]s"},
	{"writable", "chmod 666 %[1]s"},
	{"directory", "rm %[1]s; mkdir %[1]s"},
}

// damagedState: what is installed is loaded all the same, and installing again
// mends the list.
func (r *reliable) damagedState(d damage) {
	r.t.Helper()
	where := "state.json: " + d.name
	state := "/var/lib/kmend/" + r.k.BuildID + "/state.json"
	r.must("kmend install " + fileA)
	r.must(fmt.Sprintf(d.command, state))
	r.must("kmend list && kmend list --installed && kmend list --installed --json && kmend status", `state\.json cannot be used`)
	r.must("kmend load --installed 2>&1", `state\.json cannot be used`, `^livepatch_cmdline: loaded`)
	r.runs(where, codeA, fileA)
	r.must("kmend unload livepatch_cmdline")
	if d.name == "directory" {
		if code, out := r.ask("kmend install " + fileA); code != exitFailed || !strings.Contains(out, "it is a directory: remove it") {
			r.t.Errorf("%s: exit %d: %s", where, code, out)
		}
		r.must("rmdir " + state)
	}
	r.must("kmend install "+fileA, `^livepatch_cmdline: installed|already`)
	if out := r.must("kmend list --installed"); strings.Contains(out, "cannot be used") {
		r.t.Errorf("%s: installed again: %s", where, out)
	}
	r.must(fmt.Sprintf(d.command, state))
	if d.name == "directory" {
		r.must("rmdir " + state)
	}
	r.must("kmend uninstall livepatch_cmdline", `^livepatch_cmdline: uninstalled`)
	r.must("kmend load --installed")
	r.runs(where+", uninstalled", old, "")
	r.must("rm -rf /var/lib/kmend/*")
}

// damagedRecord: only what is remembered is lost.
func (r *reliable) damagedRecord(d damage) {
	r.t.Helper()
	where := "record: " + d.name
	const record = "/run/kmend/loaded/livepatch_cmdline.json"
	r.must("kmend load " + fileA)
	r.must(fmt.Sprintf(d.command, record))
	words := []string{`^livepatch_cmdline: enabled`, `livepatch_cmdline\.json is damaged: remove it`}
	if d.name == "gone" || d.name == "another owner" || d.name == "writable" { // the directory is root's
		words = words[:1]
	}
	r.must("kmend list && kmend status && kmend status --json", words...)
	r.must("kmend load "+fileA, `^livepatch_cmdline: is loaded already`)
	r.must("kmend unload livepatch_cmdline", `^livepatch_cmdline: unloaded`)
	r.must("kmend load "+fileA, `^livepatch_cmdline: loaded`)
	r.runs(where+", loaded again", codeA, fileA)
	r.must("kmend unload livepatch_cmdline; [ -z \"$(ls -A /run/kmend/loaded)\" ]")
}
