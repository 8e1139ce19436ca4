// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"

	"kmend/internal/kernel"
	"kmend/internal/klp"
	"kmend/internal/modsig"
	"kmend/internal/verify"
)

// Module is a livepatch module in memory: what was read is what is checked and
// what is loaded.
type Module struct {
	Name     string // as in /sys/module
	Path     string // the file that it was read from, absolute
	SHA256   string
	BuildID  string // its own, "" if it has none
	KernelID string // of the kernel that it says it was made for, "" if it does not say
	Release  string // first word of its vermagic
	Signed   bool
	Needs    []string // modules whose exports it uses (modinfo depends)
	Unclear  []string // what the verifier warned of

	data       []byte
	checkedFor string         // build of the kernel that kmend install held it against, "" for none
	report     *verify.Report // nil: it was not held against the kernel
}

// How much was checked before a load.
const (
	ByKernel = "kernel"  // against all that is known of the kernel: symbols, exports, structures
	ByModule = "modinfo" // by what the module says about itself
	// ByInstall: all of it, when it was installed for this build of the kernel;
	// its digest is still the same.
	ByInstall = "install"
)

// ReadModule reads a livepatch module from a file that only root can have
// written.
func (h *Host) ReadModule(file string) (*Module, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	data, err := h.readTrusted(abs)
	if err != nil {
		return nil, err
	}
	return parseModule(abs, data)
}

func parseModule(file string, data []byte) (*Module, error) {
	refuse := func(why string) error {
		return &Refusal{Code: CodeNotModule, Where: file, Why: why, Advice: "give a livepatch module (.ko), not compressed"}
	}
	v, err := verify.Inspect(data, nil)
	if err != nil {
		return nil, refuse(err.Error())
	}
	if tag, ok := v.Tag("livepatch"); !ok || tag == "" {
		return nil, refuse("it does not call itself a livepatch (modinfo livepatch)")
	}
	if plainName(v.Name) == "" {
		return nil, refuse(fmt.Sprintf("its name is %.60q", v.Name))
	}
	sum := sha256.Sum256(data)
	m := &Module{Name: v.Name, Path: file, SHA256: hex.EncodeToString(sum[:]), BuildID: v.BuildID, data: data, Signed: modsig.Present(data)}
	m.KernelID, _ = v.Tag(klp.TagKernelID)
	magic, _ := v.Tag("vermagic")
	m.Release, _, _ = strings.Cut(magic, " ")
	depends, _ := v.Tag("depends")
	m.Needs = strings.FieldsFunc(depends, func(r rune) bool { return r == ',' })
	return m, nil
}

// known finds the kernel of a build id among those that kmend knows; nil if it
// is not there, or if they cannot be looked at (a service has no home).
func (h *Host) known(id string) (*kernel.Kernel, error) {
	all, err := h.Kernels()
	if err != nil {
		return nil, fmt.Errorf("look for the kernel among those that were added: %w", err)
	}
	for _, k := range all {
		if k.BuildID == id {
			return k, nil
		}
	}
	return nil, nil
}

// fits refuses a module that is not for the kernel with the given build id. It
// returns how much was checked.
func (h *Host) fits(m *Module, id string) (checked string, err error) {
	if m.KernelID != "" && m.KernelID != id {
		return "", &Refusal{Code: CodeOtherBuild, Where: m.Path,
			Why:    fmt.Sprintf("it was made for the kernel build %.60s (%.60s), not for %s", m.KernelID, m.Release, id),
			Advice: "build the fix for this kernel: kmend build -k KERNEL FIX.patch"}
	}
	k, err := h.known(id)
	if k != nil {
		return ByKernel, h.verify(m, k)
	}
	if m.KernelID == "" && m.checkedFor == id {
		return ByInstall, nil
	}
	if m.KernelID == "" {
		if err != nil {
			h.notice("%v", err)
		}
		return "", &Refusal{Code: CodeUnknown, Where: m.Path,
			Why:    "it does not say for which build of the kernel it was made, and the kernel that it is to be loaded into is none that kmend knows",
			Advice: "add that kernel, so that the module can be held against it: kmend kernel add debian:" + m.Release}
	}
	return ByModule, nil
}

func (h *Host) verify(m *Module, k *kernel.Kernel) error {
	v, err := h.verifierOf(k)
	if err != nil {
		return fmt.Errorf("check %s: %w", m.Path, err)
	}
	report, err := v.Check(m.data)
	if err != nil {
		return fmt.Errorf("check %s: %w", m.Path, err)
	}
	m.report = report
	for _, w := range report.Warnings {
		m.Unclear = append(m.Unclear, w.String())
	}
	if report.OK() {
		return nil
	}
	var lines []string
	for _, o := range report.Objections {
		lines = append(lines, "  "+o.String())
	}
	return &Refusal{Code: CodeObjections, Where: m.Path, Why: fmt.Sprintf("it does not fit kernel %s: %d objections", k.Name, len(report.Objections)),
		Advice: "build it for this kernel", Detail: strings.Join(lines, "\n")}
}

// verifierOf is the verifier of a kernel; the last one is kept, for it has read
// the kernel.
func (h *Host) verifierOf(k *kernel.Kernel) (*verify.Verifier, error) {
	if h.verifier == nil || h.verifies != k.BuildID {
		v, err := verify.New(k)
		if err != nil {
			return nil, err
		}
		h.verifier, h.verifies = v, k.BuildID
	}
	return h.verifier, nil
}

// fitsHost refuses what the running kernel would not take, before it is asked.
func (h *Host) fitsHost(m *Module) (checked string, err error) {
	id, err := h.runningBuildID()
	if err != nil {
		return "", err
	}
	if checked, err = h.fits(m, id); err != nil {
		return "", err
	}
	release, err := h.System.Release()
	if err != nil {
		return "", err
	}
	if m.Release != release {
		return "", &Refusal{Code: CodeRelease, Where: m.Path, Why: fmt.Sprintf("its vermagic is of release %.60q, this is %q", m.Release, release), Advice: "build it for this kernel"}
	}
	if !m.Signed && h.enforcesSignatures() {
		return "", &Refusal{Code: CodeUnsigned, Where: m.Path, Why: "it is not signed, and this kernel takes signed modules only",
			Advice: "sign it with a key that the kernel trusts: kmend sign --key KEY.pem --cert CERT.pem MODULE.ko -o SIGNED.ko"}
	}
	for _, name := range m.Needs {
		if plainName(name) == "" || !h.exists(moduleDir+"/"+strings.ReplaceAll(name, "-", "_")) {
			return "", &Refusal{Code: CodeNeeds, Where: m.Path, Why: fmt.Sprintf("it uses module %.60s, which is not loaded", name), Advice: "load that first: modprobe " + name}
		}
	}
	if h.readTrimmed("/proc/sys/kernel/ftrace_enabled", 8) == "0" {
		return "", &Refusal{Code: CodeFtraceOff, Where: m.Path, Why: "kernel.ftrace_enabled is 0, and live patches need ftrace", Advice: "sysctl kernel.ftrace_enabled=1"}
	}
	return checked, nil
}

// enforcesSignatures: module.sig_enforce, or lockdown (kernel/module/signing.c).
func (h *Host) enforcesSignatures() bool {
	if h.readTrimmed("/sys/module/module/parameters/sig_enforce", 8) == "Y" {
		return true
	}
	lockdown := h.readTrimmed("/sys/kernel/security/lockdown", 64) // "none [integrity] confidentiality"
	return bytes.Contains([]byte(lockdown), []byte("[integrity]")) || bytes.Contains([]byte(lockdown), []byte("[confidentiality]"))
}
