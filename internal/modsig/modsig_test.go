// SPDX-License-Identifier: Apache-2.0

package modsig

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kmend/internal/kerneltest"
)

// pair is a key with its self-signed certificate, also as files.
type pair struct {
	key              crypto.Signer
	cert             *x509.Certificate
	keyFile, cerFile string
}

func newPair(t testing.TB, key crypto.Signer) pair {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0x1234567890), Subject: pkix.Name{CommonName: "kmend test key", Organization: []string{"Tests"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, SubjectKeyId: []byte{1, 2, 3, 4},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := pair{key, cert, filepath.Join(dir, "key.pem"), filepath.Join(dir, "cert.pem")}
	write(t, p.keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	write(t, p.cerFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return p
}

func write(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func rsaKey(t testing.TB, bits int) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func ecKey(t testing.TB, c elliptic.Curve) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

var module = bytes.Repeat([]byte("\x7fELF, say "), 1000)

func TestSignAndRead(t *testing.T) {
	for name, key := range map[string]crypto.Signer{"RSA": rsaKey(t, 2048), "P-256": ecKey(t, elliptic.P256()), "P-384": ecKey(t, elliptic.P384())} {
		for _, hash := range []string{"sha1", "sha224", "sha256", "sha384", "sha512"} {
			t.Run(name+" "+hash, func(t *testing.T) {
				p := newPair(t, key)
				h, err := Hash(hash)
				if err != nil {
					t.Fatal(err)
				}
				signed, err := Sign(module, p.key, p.cert, h)
				if err != nil {
					t.Fatal(err)
				}
				content, s, err := Read(signed)
				if err != nil || !bytes.Equal(content, module) || s.Hash != h || s.ECDSA == (name == "RSA") || s.Size != len(signed)-len(module) {
					t.Fatalf("%+v, %v", s, err)
				}
				if s.Serial != "1234567890" || s.Issuer != "CN=kmend test key,O=Tests" {
					t.Errorf("%q %q", s.Serial, s.Issuer)
				}
				if err := s.Check(p.cert); err != nil {
					t.Error(err)
				}
				if hash == "sha256" || hash == "sha512" {
					opensslVerifies(t, p, signed)
				}
				// Changed after it was signed.
				signed[100]++
				if _, s, err := Read(signed); err != nil || s.Check(p.cert) == nil {
					t.Errorf("a changed module passes (%v)", err)
				}
				if err := s.Check(newPair(t, ecKey(t, elliptic.P256())).cert); err == nil {
					t.Error("another key passes")
				}
			})
		}
	}
}

// opensslVerifies gives the CMS to openssl: detached, no attributes.
func opensslVerifies(t *testing.T, p pair, signed []byte) {
	t.Helper()
	_, cms, err := split(signed)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, dir+"/cms", cms)
	write(t, dir+"/module", module)
	out, err := exec.Command("openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", dir+"/cms", "-content", dir+"/module",
		"-certfile", p.cerFile, "-noverify", "-out", "/dev/null").CombinedOutput()
	if err != nil {
		t.Errorf("openssl: %v\n%s", err, out)
	}
}

// With an RSA key, the bytes are those of the kernel's own tool.
func TestSameAsSignFile(t *testing.T) {
	k := kerneltest.Open(t)
	tool := filepath.Join(k.ObjDir, "scripts/sign-file")
	if _, err := os.Stat(tool); err != nil {
		t.Fatalf("the prepared build directory has no sign-file: %v", err)
	}
	p := newPair(t, rsaKey(t, 2048))
	for _, hash := range []string{"sha256", "sha512", k.Config("CONFIG_MODULE_SIG_HASH")} {
		dir := t.TempDir()
		write(t, dir+"/module", module)
		if out, err := exec.Command(tool, hash, p.keyFile, p.cerFile, dir+"/module", dir+"/signed").CombinedOutput(); err != nil {
			t.Fatalf("sign-file: %v\n%s", err, out)
		}
		want, err := os.ReadFile(dir + "/signed")
		if err != nil {
			t.Fatal(err)
		}
		h, err := Hash(hash)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Sign(module, p.key, p.cert, h)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v, %d bytes, sign-file has %d", hash, err, len(got), len(want))
		}
	}
	// And an ECDSA signature of sign-file, which also names the signer by key
	// identifier with -k … -d, is read.
	ec := newPair(t, ecKey(t, elliptic.P384()))
	dir := t.TempDir()
	write(t, dir+"/module", module)
	if out, err := exec.Command(tool, "-k", "sha384", ec.keyFile, ec.cerFile, dir+"/module", dir+"/signed").CombinedOutput(); err != nil {
		t.Fatalf("sign-file: %v\n%s", err, out)
	}
	signed, err := os.ReadFile(dir + "/signed")
	if err != nil {
		t.Fatal(err)
	}
	_, s, err := Read(signed)
	if err != nil || !s.ECDSA || !bytes.Equal(s.KeyID, []byte{1, 2, 3, 4}) || s.Check(ec.cert) != nil {
		t.Errorf("%+v, %v", s, err)
	}
}

// A module that the kernel ships is signed with the key of its build.
func TestShippedModule(t *testing.T) {
	k := kerneltest.Open(t)
	data := kerneltest.ModuleData(t, k, "loop")
	content, s, err := Read(data)
	if err != nil || !bytes.HasPrefix(content, []byte("\x7fELF")) || s.Hash != crypto.SHA256 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestNotSigned(t *testing.T) {
	p := newPair(t, ecKey(t, elliptic.P256()))
	other := newPair(t, ecKey(t, elliptic.P256()))
	if _, _, err := Read(module); !errors.Is(err, ErrUnsigned) {
		t.Errorf("%v", err)
	}
	signed, err := Sign(module, p.key, p.cert, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ed := newPair(t, edKey)
	p521 := newPair(t, ecKey(t, elliptic.P521()))
	for name, c := range map[string]struct {
		do   func() ([]byte, error)
		word string
	}{
		"signed already":  {func() ([]byte, error) { return Sign(signed, p.key, p.cert, crypto.SHA256) }, "signed already"},
		"not the key's":   {func() ([]byte, error) { return Sign(module, p.key, other.cert, crypto.SHA256) }, "not that of the key"},
		"key of no use":   {func() ([]byte, error) { return Sign(module, ed.key, ed.cert, crypto.SHA256) }, "RSA and ECDSA"},
		"curve of no use": {func() ([]byte, error) { return Sign(module, p521.key, p521.cert, crypto.SHA256) }, "P-256 and P-384"},
		"hash of no use":  {func() ([]byte, error) { return Sign(module, p.key, p.cert, crypto.MD5) }, "none for module signatures"},
	} {
		if _, err := c.do(); err == nil || !strings.Contains(err.Error(), c.word) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What the kernel would call a broken format is one here, too.
func TestBrokenForm(t *testing.T) {
	p := newPair(t, rsaKey(t, 2048))
	good, err := Sign(module, p.key, p.cert, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	at := len(good) - len(magic) - trailerLen
	for name, change := range map[string]func(b []byte) []byte{
		"length too large":    func(b []byte) []byte { b[at+8] = 0x7f; return b },
		"length too small":    func(b []byte) []byte { b[at+11]--; return b },
		"kind":                func(b []byte) []byte { b[at+2] = 1; return b },
		"padding":             func(b []byte) []byte { b[at+5] = 1; return b },
		"nothing but a magic": func([]byte) []byte { return []byte(magic) },
		"type of the content": func(b []byte) []byte {
			return bytes.Replace(b, []byte{0xf7, 0x0d, 1, 7, 2}, []byte{0xf7, 0x0d, 1, 7, 3}, 1)
		},
		"hash": func(b []byte) []byte { return bytes.ReplaceAll(b, []byte{0x65, 3, 4, 2, 1}, []byte{0x65, 3, 4, 2, 9}) },
	} {
		b := change(bytes.Clone(good))
		var form *FormatError
		if _, _, err := Read(b); !errors.As(err, &form) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseKeys(t *testing.T) {
	p := newPair(t, rsaKey(t, 2048))
	keyText, _ := os.ReadFile(p.keyFile)
	certText, _ := os.ReadFile(p.cerFile)
	both := append(bytes.Clone(certText), keyText...)
	if key, err := ParseKey(both); err != nil || !key.Public().(*rsa.PublicKey).Equal(p.key.Public()) {
		t.Errorf("key behind a certificate: %v", err)
	}
	for _, data := range [][]byte{certText, both, p.cert.Raw} {
		if cert, err := ParseCertificate(data); err != nil || !cert.Equal(p.cert) {
			t.Errorf("certificate: %v", err)
		}
	}
	old := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(p.key.(*rsa.PrivateKey))})
	if _, err := ParseKey(old); err != nil {
		t.Errorf("PKCS #1: %v", err)
	}
	out, err := exec.Command("openssl", "pkcs8", "-topk8", "-passout", "pass:x", "-in", p.keyFile).Output()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseKey(out); err == nil || !strings.Contains(err.Error(), "it is encrypted") {
		t.Errorf("encrypted: %v", err)
	}
	if _, err := ParseKey(certText); err == nil || !strings.Contains(err.Error(), "there is none") {
		t.Errorf("no key: %v", err)
	}
	if _, err := ParseCertificate(keyText); err == nil || !strings.Contains(err.Error(), "there is none") {
		t.Errorf("no certificate: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	p := newPair(f, ecKey(f, elliptic.P256()))
	signed, err := Sign([]byte("module"), p.key, p.cert, crypto.SHA256)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(signed)
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, data []byte) {
		content, s, err := Read(data)
		if err != nil {
			return
		}
		if len(content)+s.Size != len(data) {
			t.Errorf("%d and %d of %d bytes", len(content), s.Size, len(data))
		}
		if err := s.Check(p.cert); err == nil && string(content) != "module" {
			t.Error("a signature of another module passes")
		}
	})
}
