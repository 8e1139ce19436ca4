// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"os"
	"strings"
	"testing"

	"kmend/internal/kernel"
	"kmend/internal/kerneltest"
	"kmend/internal/klp"
	"kmend/internal/klp/klptest"
	"kmend/internal/modsig"
)

// Where the running kernel is one that kmend knows, everything in a module is
// held against it, also in one that does not say what it was made for.
func TestKnownKernel(t *testing.T) {
	k := kerneltest.Open(t)
	facts, err := klp.FactsOf(k)
	if err != nil {
		t.Fatal(err)
	}
	facts.BuildID = "" // nobody's module
	spec := klptest.Spec(t, k, "livepatch_a", klptest.Patch{Object: "vmlinux", Funcs: []string{"cmdline_proc_show"},
		Source: klptest.Source{Path: "fs/proc/cmdline.c", Text: klptest.Text(t, k, "fs/proc/cmdline.c", `seq_putc(m, '\n')`, `seq_puts(m, " x\n")`)}})
	data, _, err := klp.Write(spec, facts)
	if err != nil {
		t.Fatal(err)
	}
	h, f := newFake(t)
	f.runs(t, k)
	f.set("root/a.ko", string(data))

	_, err = h.Load(t.Context(), "/root/a.ko", Options{})
	wantCode(t, err, CodeUnknown)
	h.Kernels = func() ([]*kernel.Kernel, error) { return []*kernel.Kernel{k}, nil }
	o, err := h.Load(t.Context(), "/root/a.ko", Options{})
	if err != nil || o.Outcome != DidLoad || o.Checked != ByKernel {
		t.Fatalf("%+v, %v", o, err)
	}

	// With a signature behind it, it is still the same module.
	if _, err := h.Unload(t.Context(), "livepatch_a", Options{}); err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := modsig.Sign(data, key, cert, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	f.set("root/signed.ko", string(signed))
	f.set("sys/module/module/parameters/sig_enforce", "Y\n")
	if o, err := h.Load(t.Context(), "/root/signed.ko", Options{}); err != nil || o.Outcome != DidLoad || o.Checked != ByKernel {
		t.Fatalf("%+v, %v", o, err)
	}
	f.set("sys/module/module/parameters/sig_enforce", "N\n")

	// Installed while that kernel was known, it is loaded at boot, when it may not
	// be: the store is in somebody's home.
	if _, err := h.Unload(t.Context(), "livepatch_a", Options{}); err != nil {
		t.Fatal(err)
	}
	if o, err := h.Install(t.Context(), []string{"/root/a.ko"}); err != nil || o[0].Checked != ByKernel {
		t.Fatalf("%+v, %v", o, err)
	}
	knows := h.Kernels
	h.Kernels = func() ([]*kernel.Kernel, error) { return nil, nil }
	if o, err := h.LoadInstalled(t.Context(), Options{}); err != nil || len(o) != 1 || o[0].Outcome != DidLoad || o[0].Checked != ByInstall {
		t.Fatalf("%+v, %v", o, err)
	}
	if _, err := h.Unload(t.Context(), "livepatch_a", Options{}); err != nil {
		t.Fatal(err)
	}
	state := installDir + "/" + k.BuildID + "/" + stateFile // without it nothing says what was checked
	if err := os.WriteFile(h.path(state), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = h.LoadInstalled(t.Context(), Options{})
	wantCode(t, err, CodeUnknown)
	h.Kernels = knows

	// The same with a symbol that the kernel does not have.
	bad := bytes.ReplaceAll(data, []byte("cmdline_proc_show"), []byte("cmdline_proc_shoo"))
	bad = bytes.ReplaceAll(bad, []byte("livepatch_a"), []byte("livepatch_b"))
	if err := os.WriteFile(h.path("root/b.ko"), bad, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = h.Load(t.Context(), "/root/b.ko", Options{})
	wantCode(t, err, CodeObjections)
	if !strings.Contains(err.Error(), "function-missing") {
		t.Errorf("%v", err)
	}
	_, err = h.Install(t.Context(), []string{"/root/b.ko"})
	wantCode(t, err, CodeObjections)
}
