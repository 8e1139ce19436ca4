// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kmend/internal/host"
	"kmend/internal/hostiletest"
	"kmend/internal/ui"
)

// quiet is a system that answers and does nothing.
type quiet struct{ host.System }

func (quiet) Release() (string, error) { return "6.1.0-test", nil }
func (quiet) IsRoot() bool             { return true }
func (quiet) Now() time.Time           { return time.Unix(1767225600, 0) }

const (
	listBuild = "00112233445566778899aabbccddeeff00112233" // what runs: with a list of what is installed
	elseBuild = "ffeeddccbbaa99887766554433221100ffeeddcc" // whose list is missing
)

// listModule assembles what installs as a livepatch.
func listModule(t testing.TB, name, id string) []byte {
	t.Helper()
	text := ".section .modinfo,\"a\"\n"
	for _, tag := range []string{"license=GPL", "name=" + name, "vermagic=6.1.0-test SMP", "livepatch=Y", "kmend.build_id=" + id} {
		text += fmt.Sprintf(".asciz %q\n", tag)
	}
	text += ".globl init_module\n.text\ninit_module: ret\n.section .gnu.linkonce.this_module,\"aw\"\n.zero 64\n.section .note.gnu.build-id,\"a\",@note\n.long 4, 20, 3\n.asciz \"GNU\"\n.zero 20,7\n"
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/m.S", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("gcc-12", "-c", "-o", dir+"/m.o", dir+"/m.S").CombinedOutput(); err != nil {
		t.Fatalf("assemble a module: %v\n%s", err, out)
	}
	data, err := os.ReadFile(dir + "/m.o")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// listFiles is a system with a live patch that is loaded, one on its way, one
// that is disabled, and modules installed for two builds.
func listFiles(t testing.TB) map[string][]byte {
	t.Helper()
	id, _ := hex.DecodeString(listBuild)
	note := "\x04\x00\x00\x00\x14\x00\x00\x00\x03\x00\x00\x00GNU\x00" + string(id)
	installed, found := listModule(t, "lp_one", listBuild), listModule(t, "lp_other", elseBuild)
	digest := fmt.Sprintf("%x", sha256.Sum256(installed))
	record := func(name, state string) string {
		return fmt.Sprintf(`{"version":1,"name":%q,"path":"/root/%s.ko","sha256":%q,"build_id":%q,"boot_id":"boot-1","since":"2026-01-01T00:00:00Z","state":%q,"turned":"2026-01-01T00:00:01Z","forced":false}`, name, name, digest, strings.Repeat("07", 20), state)
	}
	moduleNote := "\x04\x00\x00\x00\x14\x00\x00\x00\x03\x00\x00\x00GNU\x00" + strings.Repeat("\x07", 20)
	files := map[string]string{
		"sys/kernel/notes": note, "proc/sys/kernel/tainted": "36864\n", "proc/sys/kernel/ftrace_enabled": "1\n", "proc/sys/kernel/random/boot_id": "boot-1\n",
		"proc/modules":                                "lp_off 16384 1 - Live 0x0 (OEK)\nlp_two 16384 1 - Live 0x0 (OEK)\nlp_one 16384 1 - Live 0x0 (OEK)\next4 16384 1 - Live 0x0\n",
		"run/kmend/loaded/lp_one.json":                record("lp_one", "loaded"),
		"run/kmend/loaded/lp_two.json":                record("lp_two", "loading"),
		"proc/7/task/7/patch_state":                   "0\n",
		"proc/7/task/7/comm":                          "cat\n",
		"proc/7/task/7/stat":                          "7 (cat) S 2 0 0 0 -1 4194304 0 0",
		"proc/7/task/7/wchan":                         "pipe_read",
		"proc/7/task/7/stack":                         "[<0>] do_it+0x3df/0x470\n[<0>] vfs_read+0x2de/0x310 [lp_one]\n",
		"sys/module/ext4/taint":                       "\n",
		"var/lib/kmend/" + listBuild + "/state.json":  fmt.Sprintf(`{"version":1,"kernel_build_id":%q,"modules":[{"name":"lp_one","sha256":%q,"release":"6.1.0-test","from":"/root/lp_one.ko","installed":"2026-01-01T00:00:00Z"},{"name":"lp_gone","sha256":%q,"release":"6.1.0-test","from":"/root/lp_gone.ko","installed":"2026-01-01T00:00:00Z","pending":"installing"}]}`, listBuild, digest, digest),
		"var/lib/kmend/" + listBuild + "/lp_one.ko":   string(installed),
		"var/lib/kmend/" + elseBuild + "/lp_other.ko": string(found),
	}
	for _, name := range []string{"lp_one", "lp_two", "lp_off"} {
		files["sys/module/"+name+"/initstate"] = "live\n"
		files["sys/module/"+name+"/taint"] = "OEK\n"
		files["sys/module/"+name+"/refcnt"] = "1\n"
		files["sys/module/"+name+"/notes/.note.gnu.build-id"] = moduleNote
		if name == "lp_off" {
			continue
		}
		live := "sys/kernel/livepatch/" + name
		files[live+"/enabled"] = "1\n"
		files[live+"/transition"] = map[string]string{"lp_one": "0\n", "lp_two": "1\n"}[name]
		files[live+"/vmlinux/patched"] = "1\n"
		files[live+"/vmlinux/do_it,1/"] = ""
		if name == "lp_one" {
			files[live+"/ext4/patched"] = "0\n"
			files[live+"/ext4/ext4_it,2/"] = ""
		}
	}
	out := map[string][]byte{}
	for name, text := range files {
		out[name] = []byte(text)
	}
	return out
}

// hostileRoot is the directory of one goroutine: files that are as they were
// between two inputs.
type hostileRoot struct {
	dir    string
	files  map[string][]byte
	names  []string // of regular files, sorted: the ones that are read most come several times
	parsed map[string]*hostiletest.JSON
	a      *app
	host   *host.Host
	out    bytes.Buffer
}

func newHostileRoot(t testing.TB, files map[string][]byte) *hostileRoot {
	t.Helper()
	r := &hostileRoot{dir: t.TempDir(), files: files, parsed: map[string]*hostiletest.JSON{}}
	for name, data := range files {
		path := filepath.Join(r.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		weight := 1
		if strings.HasSuffix(name, ".json") || strings.HasSuffix(name, ".ko") || name == "proc/modules" {
			weight = 8
		}
		r.names = append(r.names, slices.Repeat([]string{name}, weight)...)
		if strings.HasSuffix(name, ".json") {
			j, err := hostiletest.NewJSON(data)
			if err != nil {
				t.Fatal(err)
			}
			r.parsed[name] = j
		}
	}
	slices.Sort(r.names)
	if err := r.put(files, true); err != nil {
		t.Fatal(err)
	}
	r.host = host.At(r.dir, quiet{})
	r.a = &app{Out: &r.out, Err: &r.out, Progress: ui.Discard()}
	return r
}

// input changes some files: what stands in them after it, by name.
func (r *hostileRoot) input(rnd *rand.Rand) map[string][]byte {
	changed := map[string][]byte{}
	for range 1 + rnd.IntN(2) {
		name := r.names[rnd.IntN(len(r.names))]
		was := r.files[name]
		switch {
		case r.parsed[name] != nil:
			changed[name] = r.parsed[name].Mutate(rnd)
		case strings.HasSuffix(name, ".ko"):
			changed[name] = elfMutant(rnd, was)
			if strings.Contains(name, listBuild) && rnd.IntN(4) > 0 { // and the list says that this was installed
				state := "var/lib/kmend/" + listBuild + "/state.json"
				was, now := fmt.Sprintf("%x", sha256.Sum256(was)), fmt.Sprintf("%x", sha256.Sum256(changed[name]))
				changed[state] = bytes.Replace(r.files[state], []byte(was), []byte(now), 1)
			}
		default:
			changed[name] = hostiletest.Bytes(rnd, was)
		}
	}
	if rnd.IntN(20) == 0 { // a name of a file or directory that is odd itself
		name := strings.Map(func(c rune) rune {
			if c == '/' || c == 0 {
				return 'x'
			}
			return c
		}, string(hostiletest.Bytes(rnd, []byte("lp_one"))))
		name = "o" + name[:min(len(name), 200)] // none that is there
		where := []string{"var/lib/kmend/" + listBuild + "/%s.ko", "var/lib/kmend/" + elseBuild + "/%s.ko", "sys/kernel/livepatch/lp_one/vmlinux/%s,1/", "sys/kernel/livepatch/lp_one/%s/"}[rnd.IntN(4)]
		changed[fmt.Sprintf(where, name)] = r.files["var/lib/kmend/"+elseBuild+"/lp_other.ko"]
	}
	return changed
}

// elfMutant changes some numbers of a file at the places of fields, or bytes.
func elfMutant(rnd *rand.Rand, seed []byte) []byte {
	if rnd.IntN(4) == 0 {
		return hostiletest.Bytes(rnd, seed)
	}
	d := bytes.Clone(seed)
	interesting := []uint64{0, 1, 8, 64, 0xff20, 0xffff, 1 << 31, 1<<32 - 1, 1 << 63, 1<<64 - 1, uint64(len(d))}
	for range 1 + rnd.IntN(4) {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], interesting[rnd.IntN(len(interesting))])
		copy(d[rnd.IntN(len(d))&^3:], b[:1<<rnd.IntN(4)])
	}
	return d
}

// put writes files, or puts back what was there before.
func (r *hostileRoot) put(changed map[string][]byte, back bool) error {
	for name, data := range changed {
		path := filepath.Join(r.dir, name)
		if strings.HasSuffix(name, "/") && back && r.files[name] != nil {
			continue
		}
		was, known := r.files[name]
		var err error
		switch {
		case back && !known:
			err = os.RemoveAll(path)
		case !known && strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		case back:
			err = os.WriteFile(path, was, 0o644)
		default:
			err = os.WriteFile(path, data, 0o644)
		}
		if err == nil && back && known {
			err = os.Chtimes(path, time.Time{}, quiet{}.Now()) // which is shown of some
		}
		if err != nil {
			return fmt.Errorf("write %q: %w", name, err)
		}
	}
	return nil
}

// show does what list, list --installed and status do, in text and JSON. What is
// installed and what is loaded are read from different files, but for one.
func (r *hostileRoot) show(loaded, installed bool) (string, error) {
	r.out.Reset()
	outcome := "shown"
	var faults []error
	if loaded {
		s, err := r.host.Status()
		if err == nil {
			_, err := r.a.statusLine(s, "")
			faults = append(faults, err, r.a.printStatus(&r.out, s), r.a.listTable(s).Write(&r.out, 0), r.a.listTable(s).Write(&r.out, 80), r.a.PrintJSON(s))
		} else {
			r.a.finish(err)
			outcome = "refused"
		}
	}
	if installed {
		all, err := r.host.Installed()
		if err == nil {
			if troubled(all) {
				outcome += " with trouble"
			}
			faults = append(faults, r.a.printInstalled(&r.out, all), r.a.PrintJSON(all))
		} else {
			r.a.finish(err)
			outcome = "refused"
		}
	}
	if bad := hostiletest.Hidden(r.out.String(), false); bad != "" {
		faults = append(faults, fmt.Errorf("the terminal gets %s", bad))
	}
	return outcome, errors.Join(faults...)
}

func troubled(all *host.Installation) bool {
	return slices.ContainsFunc(all.Builds, func(b host.InstalledBuild) bool {
		return len(b.Notes) > 0 && b.Running || slices.ContainsFunc(b.Modules, func(m host.InstalledModule) bool { return m.Trouble != "" })
	})
}

// TestHostileLists: whatever stands in the files that list and status read, they
// answer or refuse, and print nothing that a terminal would obey.
func TestHostileLists(t *testing.T) {
	files := listFiles(t)
	count := hostiletest.Share(t, 2000, 100)
	bounds := hostiletest.Bounds{Constant: 8 << 20, PerByte: 2000, Memory: 1 << 30}
	got := hostiletest.Run(t, count, bounds, func(int) func(*rand.Rand, int) hostiletest.Case {
		r := newHostileRoot(t, files)
		if outcome, err := r.show(true, true); outcome != "shown" || err != nil || strings.Count(r.out.String(), "lp_one") < 10 || !strings.Contains(r.out.String(), "vmlinux:do_it") {
			t.Fatalf("the files as they are: %s, %v\n%s", outcome, err, r.out.String())
		}
		return func(rnd *rand.Rand, i int) hostiletest.Case {
			changed := r.input(rnd)
			text, _ := json.Marshal(changed) // the bytes as base64, by file
			return hostiletest.Case{Input: text, Try: func() (string, error) { return r.try(changed) }}
		}
	})
	if got["shown"] < count/20 || got["shown with trouble"] < count/20 || got["refused"] < count/1000 {
		t.Errorf("of %d: %v", count, got)
	}
}

func (r *hostileRoot) try(changed map[string][]byte) (string, error) {
	if err := r.put(changed, false); err != nil {
		return "not written", err
	}
	loaded, installed := false, false
	for name := range changed {
		of := strings.HasPrefix(name, "var/")
		loaded, installed = loaded || !of, installed || of || name == "sys/kernel/notes"
	}
	outcome, err := r.show(loaded, installed)
	if back := r.put(changed, true); back != nil {
		err = errors.Join(err, back)
	}
	return outcome, err
}
