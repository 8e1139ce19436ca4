// SPDX-License-Identifier: Apache-2.0

package modsig

import (
	"bytes"
	"crypto"
	_ "crypto/sha1" // the hashes that CONFIG_MODULE_SIG_HASH can name
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
)

// magic ends a signed module (include/linux/module_signature.h).
const magic = "~Module signature appended~\n"

const (
	trailerLen  = 12 // struct module_signature
	idTypePKCS7 = 2  // PKEY_ID_PKCS7
	maxCMS      = 64 << 10
)

var (
	oidData       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidRSA        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
)

// hashes are those that both the kernel and its configuration know.
var hashes = []struct {
	name  string // as in CONFIG_MODULE_SIG_HASH
	hash  crypto.Hash
	oid   asn1.ObjectIdentifier
	ecdsa asn1.ObjectIdentifier // ecdsa-with-HASH
}{
	{"sha1", crypto.SHA1, asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}, asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1}},
	{"sha224", crypto.SHA224, asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 4}, asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 1}},
	{"sha256", crypto.SHA256, asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}, asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}},
	{"sha384", crypto.SHA384, asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}, asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}},
	{"sha512", crypto.SHA512, asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}, asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 4}},
}

// Hash is the hash function that CONFIG_MODULE_SIG_HASH names.
func Hash(name string) (crypto.Hash, error) {
	for _, h := range hashes {
		if h.name == name {
			return h.hash, nil
		}
	}
	return 0, fmt.Errorf("hash %.40q is none for module signatures: use sha256, sha384, sha512, sha224 or sha1", name)
}

// The CMS structures (RFC 5652), as far as a module's signature has them.
type (
	contentInfo struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue `asn1:"explicit,tag:0"`
	}
	signedData struct {
		Version          int
		DigestAlgorithms []pkix.AlgorithmIdentifier `asn1:"set"`
		Encap            encapsulated
		Certificates     asn1.RawValue `asn1:"optional,tag:0"`
		CRLs             asn1.RawValue `asn1:"optional,tag:1"`
		Signers          []signerInfo  `asn1:"set"`
	}
	// encapsulated must have no content: the module is the content.
	encapsulated struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue `asn1:"optional,explicit,tag:0"`
	}
	signerInfo struct {
		Version         int
		SID             asn1.RawValue // issuerAndSerial, or [0] subject key id
		DigestAlgorithm pkix.AlgorithmIdentifier
		SignedAttrs     asn1.RawValue `asn1:"optional,tag:0"`
		Algorithm       pkix.AlgorithmIdentifier
		Signature       []byte
		UnsignedAttrs   asn1.RawValue `asn1:"optional,tag:1"`
	}
	issuerAndSerial struct {
		Issuer asn1.RawValue
		Serial *big.Int
	}
)

// FormatError says that what is appended to a module is no signature that the
// kernel would read.
type FormatError struct{ Why string }

func (e *FormatError) Error() string { return "module signature: " + e.Why }

func formatErrorf(format string, args ...any) error {
	return &FormatError{Why: fmt.Sprintf(format, args...)}
}

// ErrUnsigned says that a module has no signature.
var ErrUnsigned = errors.New("the module is not signed")

// Present tells whether something is appended to a module that calls itself a
// signature.
func Present(module []byte) bool { return bytes.HasSuffix(module, []byte(magic)) }

// split parts a signed module into the module and the CMS bytes.
func split(data []byte) (module, cms []byte, err error) {
	if !Present(data) {
		return nil, nil, ErrUnsigned
	}
	rest := data[:len(data)-len(magic)]
	if len(rest) < trailerLen {
		return nil, nil, formatErrorf("the file ends before its description")
	}
	t := rest[len(rest)-trailerLen:]
	rest = rest[:len(rest)-trailerLen]
	n := uint64(binary.BigEndian.Uint32(t[8:]))
	switch {
	case t[2] != idTypePKCS7:
		return nil, nil, formatErrorf("it is of kind %d; the kernel takes PKCS #7 (2) only", t[2])
	case t[0]|t[1]|t[3]|t[4]|t[5]|t[6]|t[7] != 0: // kernel/module_signature.c, mod_check_sig
		return nil, nil, formatErrorf("fields that must be 0 for PKCS #7 are not")
	case n >= uint64(len(rest)):
		return nil, nil, formatErrorf("it says that it has %d bytes, and %d are there", n, len(rest))
	case n > maxCMS:
		return nil, nil, formatErrorf("it has %d bytes, more than %d", n, maxCMS)
	}
	at := len(rest) - int(n)
	return rest[:at:at], rest[at:], nil
}

// join is the other way round.
func join(module, cms []byte) []byte {
	trailer := make([]byte, trailerLen)
	trailer[2] = idTypePKCS7
	binary.BigEndian.PutUint32(trailer[8:], uint32(len(cms)))
	return bytes.Join([][]byte{module, cms, trailer, []byte(magic)}, nil)
}
