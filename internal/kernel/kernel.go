// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/cilium/ebpf/btf"
)

// Kernel is one kernel that can be patched, as kernel.json in its directory
// describes it. Everything large is read on demand, once; a *Kernel is safe
// for concurrent use.
type Kernel struct {
	Name       string    `json:"name"`        // what the user types with -k
	Provider   string    `json:"provider"`    // "debian" or "tree"
	Spec       string    `json:"spec"`        // what it was added from, e.g. "debian:6.1.0-50-amd64"
	Release    string    `json:"release"`     // uname -r
	Version    string    `json:"version"`     // package version, e.g. "6.1.176-1"; "" for a tree
	BuildID    string    `json:"build_id"`    // GNU build id of the image, hex
	Banner     string    `json:"banner"`      // linux_banner of the image
	Compiler   string    `json:"compiler"`    // command that compiles for it, e.g. "gcc-12"
	CompilerID string    `json:"compiler_id"` // its CONFIG_CC_VERSION_TEXT, e.g. "gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0"
	Magic      string    `json:"vermagic"`    // vermagic of its modules
	Dir        string    `json:"dir"`         // absolute; all paths below may lie outside it for a tree
	SourceDir  string    `json:"source_dir"`  // source root; never written
	ObjDir     string    `json:"obj_dir"`     // prepared O= directory, with .config
	Vmlinux    string    `json:"vmlinux"`     // uncompressed ELF image, bootable by QEMU through PVH
	Bzimage    string    `json:"bzimage"`     // vmlinuz; "" if a tree has none
	ModulesDir string    `json:"modules_dir"` // …/lib/modules/RELEASE with kernel/, modules.dep, modules.builtin
	Symvers    string    `json:"symvers"`     // Module.symvers
	HeadersDir string    `json:"headers_dir"` // Debian's headers to build external modules with; "" for a tree
	MakeVars   []string  `json:"make_vars"`   // variables for make, e.g. "ARCH=x86", without O=
	Symbols    int       `json:"symbols"`     // entries in kallsyms
	ModuleN    int       `json:"modules"`     // shipped modules
	Added      time.Time `json:"added"`
	Steps      []Step    `json:"steps"` // what the add took

	// Fresh: the Add that returned this value has made it, rather than found it.
	Fresh bool `json:"-"`

	lazy
}

// Step is one phase of adding a kernel and the wall time it took.
type Step struct {
	Phase   string  `json:"phase"`
	Seconds float64 `json:"seconds"`
}

// lazy is what is read on demand.
type lazy struct {
	imageOnce sync.Once
	image     *Image
	imageErr  error

	btfOnce sync.Once
	btf     *btf.Spec
	btfErr  error

	configOnce sync.Once
	config     map[string]string

	modulesOnce sync.Once
	modules     *moduleIndex
	modulesErr  error

	exportsOnce sync.Once
	exports     map[string]Export
	exportsErr  error
}

// Image reads the image and decodes its symbol table (about 0.15 s), once. It
// fails if the file is not the image that was added.
func (k *Kernel) Image() (*Image, error) {
	k.imageOnce.Do(func() {
		im, err := OpenImage(k.Vmlinux)
		if err == nil && im.BuildID != k.BuildID {
			err = fmt.Errorf("%s has build id %s, but kernel %s was added with %s: it was rebuilt since; run: kmend kernel add --force %s",
				k.Vmlinux, im.BuildID, k.Name, k.BuildID, k.Spec)
		}
		if err != nil {
			k.imageErr = fmt.Errorf("load kernel %s: %w", k.Name, err)
			return
		}
		k.image = im
	})
	return k.image, k.imageErr
}

// BTF is the type information of vmlinux (CONFIG_DEBUG_INFO_BTF), parsed once.
func (k *Kernel) BTF() (*btf.Spec, error) {
	k.btfOnce.Do(func() {
		im, err := k.Image()
		if err != nil {
			k.btfErr = err
			return
		}
		k.btf, k.btfErr = ParseBTF(im.btf)
		if k.btfErr != nil {
			k.btfErr = fmt.Errorf("types of kernel %s: %w", k.Name, k.btfErr)
		}
	})
	return k.btf, k.btfErr
}

// ParseBTF parses the types of a kernel: the .BTF section of its image, which a
// running one shows as /sys/kernel/btf/vmlinux. A panic of the parser is an error.
func ParseBTF(data []byte) (spec *btf.Spec, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("damaged .BTF section: %v", p)
		}
	}()
	if len(data) == 0 {
		return nil, errors.New("no .BTF section in the image: the kernel must be built with CONFIG_DEBUG_INFO_BTF=y")
	}
	spec, err = btf.LoadSpecFromReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("parse .BTF: %w", err)
	}
	return spec, nil
}

// BTFBytes is the raw .BTF section; nil if there is none.
func (im *Image) BTFBytes() []byte { return im.btf }

// Vermagic is the vermagic string of the kernel's modules.
func (k *Kernel) Vermagic() string { return k.Magic }

// MakeArgs are the arguments that make needs so that it builds with the
// kernel's own settings and rebuilds nothing that was prepared: a target and
// perhaps -j are to be added. It writes to ObjDir.
func (k *Kernel) MakeArgs() []string {
	return append([]string{"-C", k.SourceDir, "O=" + k.ObjDir}, k.MakeVars...)
}

// ConfigFile is the path of the kernel's configuration.
func (k *Kernel) ConfigFile() string { return filepath.Join(k.ObjDir, ".config") }
