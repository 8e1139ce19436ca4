// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/x509"
	"debug/elf"
	"encoding/binary"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kmend/internal/kernel"
	"kmend/internal/kerneltest"
	"kmend/internal/modsig"
	"kmend/internal/vm"
)

// signingKey makes a key and its certificate with openssl.
func signingKey(t *testing.T) (key, cert string, der []byte) {
	t.Helper()
	dir := t.TempDir()
	key, cert = filepath.Join(dir, "key.pem"), filepath.Join(dir, "cert.pem")
	out, err := exec.Command("openssl", "req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", "/CN=kmend test key/", "-keyout", key, "-out", cert).CombinedOutput()
	if err != nil {
		t.Fatalf("openssl: %v\n%s", err, out)
	}
	text, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := pem.Decode(text)
	if _, err := x509.ParseCertificate(b.Bytes); err != nil {
		t.Fatal(err)
	}
	return key, cert, b.Bytes
}

// trusting is the kernel's image with another certificate in the place of those
// that it was built with (certs/system_certificates.S): so that there is a kernel
// that trusts a key of ours.
func trusting(t *testing.T, k *kernel.Kernel, der []byte) string {
	t.Helper()
	data, err := os.ReadFile(k.Vmlinux)
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) uint64 {
		list := kerneltest.Image(t, k).Symbols().Lookup(name)
		if len(list) != 1 {
			t.Fatalf("the kernel has %d symbols %s", len(list), name)
		}
		for _, p := range f.Progs {
			if off := list[0].Addr - p.Vaddr; p.Type == elf.PT_LOAD && list[0].Addr >= p.Vaddr && off < p.Filesz {
				return p.Off + off
			}
		}
		t.Fatalf("%s is not in the file", name)
		return 0
	}
	list, size := at("system_certificate_list"), at("system_certificate_list_size")
	if room := binary.LittleEndian.Uint64(data[size:]); uint64(len(der)) > room {
		t.Fatalf("the certificate has %d bytes, the kernel's have %d", len(der), room)
	}
	copy(data[list:], der)
	for _, name := range []string{"system_certificate_list_size", "module_cert_size"} {
		binary.LittleEndian.PutUint64(data[at(name):], uint64(len(der)))
	}
	out := filepath.Join(t.TempDir(), "vmlinux")
	if err := os.WriteFile(out, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestHostSigned: the kernel reads the signatures that kmend sign makes, rejects
// those of a key that it does not trust for just that reason, and takes those of
// one that it trusts.
func TestHostSigned(t *testing.T) {
	k := kerneltest.Open(t)
	unsigned, _ := buildFix(t, k, "one", newline)
	key, cert, der := signingKey(t)
	dir := t.TempDir()
	signed := filepath.Join(dir, "signed.ko")
	code, out, _ := kmend(t, "sign", "-k", k.Name, "--key", key, "--cert", cert, "-o", signed, unsigned)
	if code != exitDone || !strings.Contains(out, "signed with sha256 by CN=kmend test key") {
		t.Fatalf("exit code %d: %s", code, out)
	}
	good, err := os.ReadFile(signed)
	if err != nil {
		t.Fatal(err)
	}
	module, _, err := modsig.Read(good)
	if err != nil {
		t.Fatal(err)
	}
	broken := bytes.Clone(good) // in the CMS: no sequence of types any more
	broken[len(module)+4] = 0xff
	changed := bytes.Replace(good, []byte("livepatch=Y\x00"), []byte("livepatch=y\x00"), 1)
	var files []string
	for name, data := range map[string][]byte{"broken.ko": broken, "changed.ko": changed} {
		if bytes.Equal(data, good) {
			t.Fatalf("%s is as it was", name)
		}
		files = append(files, writeFile(t, name, data))
	}
	files = append(files, signed, unsigned)

	h := bootHost(t, k, func(m *vm.Machine) { m.ExtraCommandLine = "module.sig_enforce=1" }, files...)
	h.run(exitRefused, "kmend load /root/kmend/livepatch-one.ko", `refused \(signature-required\)`)
	h.run(exitFailed, "kmend load /root/kmend/signed.ko", `signed with a key that the kernel does not trust`, `kernel: Loading of module with unavailable key is rejected`)
	h.run(exitFailed, "kmend load /root/kmend/broken.ko", `its signature is broken or has a form`)
	h.run(exitDone, "kmend list", `no live patch is loaded`)

	h = bootHost(t, k, func(m *vm.Machine) {
		m.ExtraCommandLine = "module.sig_enforce=1"
		m.Image = trusting(t, k, der)
	}, files...)
	h.run(exitFailed, "kmend load /root/kmend/changed.ko", `it was changed after it was signed`)
	h.run(exitDone, "kmend load /root/kmend/signed.ko", `^livepatch_one: loaded`)
	h.want("cmdline", h.shell(cmdlineNow), ` kmend$`)
	if s := h.status()["livepatch_one"]; s.Taint != "OK" {
		t.Errorf("taint %q: the kernel did not take the signature", s.Taint)
	}
	h.quiet()
}
