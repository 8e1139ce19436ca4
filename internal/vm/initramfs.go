// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"strings"

	"kmend/internal/vm/wire"
)

// busyboxPath is where Debian's busybox-static lies; in the guest it is the
// shell and the tools of the check commands.
const busyboxPath = "/bin/busybox"

// moduleDir is where the modules lie in the guest.
const moduleDir = "/lib/kmend"

// MissingToolError says that a program that kmend runs is not installed, and
// which Debian package has it.
type MissingToolError struct{ Tool, Package string }

func (e *MissingToolError) Error() string {
	return fmt.Sprintf("%s is not installed: run apt-get install --no-install-recommends %s", e.Tool, e.Package)
}

// File is a file of the host that is put into the guest. A directory is put
// there with all that is below it.
type File struct{ Host, Guest string }

// Module is a kernel module as the guest loads it. Name has underscores, as in
// /sys/module. Data is the module's bytes; when nil, the file Path is read.
type Module struct {
	Name string
	Path string
	Data []byte
}

func (m Module) guestPath() string { return moduleDir + "/" + m.Name + ".ko" }

// buildInitramfs lays out the guest's root file system.
func buildInitramfs(m *Machine, token string) (*archive, error) {
	a := newArchive()
	for _, d := range []string{"/dev", "/proc", "/sys", "/tmp", "/run", "/root", "/mnt", "/bin", "/sbin", "/usr/bin", "/usr/sbin", "/var/tmp"} {
		a.dir(d)
	}
	a.char("/dev/console", 5, 1) // Documentation/admin-guide/devices.txt
	a.char("/dev/null", 1, 3)
	a.file("/etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"))
	a.file("/etc/group", 0o644, []byte("root:x:0:\nnogroup:x:65534:\n"))
	a.file(wire.TokenPath, 0o600, []byte(token+"\n"))

	agent, err := agentImage(m.Agent)
	if err != nil {
		return nil, err
	}
	a.file(wire.InitPath, 0o755, agent)
	for _, mod := range m.Modules {
		data := mod.Data
		if data == nil {
			if data, err = os.ReadFile(mod.Path); err != nil {
				return nil, fmt.Errorf("read module %s: %w", mod.Name, err)
			}
		}
		a.file(mod.guestPath(), 0o644, data)
	}
	if err := addFiles(a, m.Files); err != nil {
		return nil, err
	}
	if m.Shell && !a.has("/bin/sh") {
		if err := addBusybox(a, busyboxPath); err != nil {
			return nil, err
		}
	}
	if err := checkInterpreters(a); err != nil {
		return nil, err
	}
	// The archive is in memory twice while the kernel unpacks it.
	if most := int64(m.MemoryMB) << 20 / 3; a.size > most {
		return nil, fmt.Errorf("pack the guest's files: %d MiB are too much for a guest of %d MiB memory: give it more (--memory %d)",
			a.size>>20, m.MemoryMB, (a.size*4)>>20+128)
	}
	return a, nil
}

// agentImage reads the program that becomes /init: the one at path, or this very
// program. It must be static, since the guest has no libraries. What lies behind
// its last loadable segment (debug information) is cut off: a smaller archive
// boots faster.
func agentImage(file string) ([]byte, error) {
	if file == "" {
		file = "/proc/self/exe"
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the agent: %w", err)
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("read the agent %s: %w", file, err)
	}
	defer f.Close()
	if f.Class != elf.ELFCLASS64 || f.Machine != elf.EM_X86_64 {
		return nil, fmt.Errorf("read the agent %s: it is not a program for x86-64", file)
	}
	var end uint64
	for _, p := range f.Progs {
		switch p.Type {
		case elf.PT_INTERP:
			return nil, errors.New("use this program as the guest's init: it is linked dynamically; build kmend with CGO_ENABLED=0, as make does")
		case elf.PT_LOAD:
			end = max(end, p.Off+p.Filesz)
		}
	}
	if end == 0 || end > uint64(len(data)) {
		return nil, fmt.Errorf("read the agent %s: its segments do not lie in the file", file)
	}
	data = data[:end:end]
	clear(data[0x28:0x30]) // e_shoff: the section headers are gone
	clear(data[0x3c:0x40]) // e_shnum, e_shstrndx
	return data, nil
}

func addBusybox(a *archive, file string) error {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return &MissingToolError{Tool: file + " (the shell of the guest)", Package: "busybox-static"}
	}
	if err != nil {
		return fmt.Errorf("read busybox: %w", err)
	}
	if interp, _ := interpreter(data); interp != "" {
		return fmt.Errorf("use %s in the guest: it is linked dynamically; run apt-get install --no-install-recommends busybox-static", file)
	}
	list, err := exec.Command(file, "--list").Output()
	if err != nil {
		return fmt.Errorf("list busybox's commands: %w", err)
	}
	a.file(busyboxPath, 0o755, data)
	for name := range strings.FieldsSeq(string(list)) {
		if p := "/bin/" + name; name == path.Base(name) && !a.has(p) {
			a.symlink(p, "busybox")
		}
	}
	if !a.has("/bin/sh") {
		return fmt.Errorf("use %s in the guest: it has no shell", file)
	}
	return nil
}

func addFiles(a *archive, files []File) error {
	for _, f := range files {
		guest := f.Guest
		if guest == "" {
			guest = "/root/" + path.Base(f.Host)
		}
		if !path.IsAbs(guest) {
			return fmt.Errorf("add file %s: the path in the guest %q is not absolute", f.Host, guest)
		}
		guest = path.Clean(guest)
		if guest == "/" || guest == wire.InitPath || strings.HasPrefix(guest, path.Dir(wire.TokenPath)) || strings.HasPrefix(guest, moduleDir+"/") {
			return fmt.Errorf("add file %s: the path %s in the guest is kmend's own", f.Host, guest)
		}
		if err := addTree(a, f.Host, guest); err != nil {
			return fmt.Errorf("add file %s: %w", f.Host, err)
		}
	}
	return nil
}

func addTree(a *archive, host, guest string) error {
	info, err := os.Stat(host)
	if err != nil {
		return err
	}
	switch {
	case info.IsDir():
		a.dir(guest)
		names, err := os.ReadDir(host)
		if err != nil {
			return err
		}
		for _, n := range names {
			if err := addTree(a, host+"/"+n.Name(), guest+"/"+n.Name()); err != nil {
				return err
			}
		}
	case info.Mode().IsRegular():
		data, err := os.ReadFile(host)
		if err != nil {
			return err
		}
		a.file(guest, info.Mode(), data)
	default:
		return fmt.Errorf("%s is neither a file nor a directory", host)
	}
	return nil
}

// checkInterpreters refuses programs that the guest cannot start because their
// dynamic loader is not there: the kernel's answer would be a bare "not found".
func checkInterpreters(a *archive) error {
	for _, e := range a.entries {
		if e.mode&0o170111 == modeRegular {
			continue // not executable
		}
		interp, ok := interpreter(e.data)
		if ok && interp != "" && !a.has(interp) {
			return fmt.Errorf("add file %s: it is linked dynamically and its loader %s is not in the guest: link it statically, or add the loader and the libraries that ldd names", e.path, interp)
		}
	}
	return nil
}

// interpreter returns the dynamic loader that an ELF program asks for; ok is
// false when data is no ELF file.
func interpreter(data []byte) (name string, ok bool) {
	if !bytes.HasPrefix(data, []byte(elf.ELFMAG)) {
		return "", false
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return "", false
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP && p.Filesz < 4096 {
			b := make([]byte, p.Filesz)
			if _, err := p.ReadAt(b, 0); err == nil {
				return string(bytes.TrimRight(b, "\x00")), true
			}
		}
	}
	return "", true
}
