// SPDX-License-Identifier: Apache-2.0

package modsig

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
)

// Signature is what is appended to a signed module.
type Signature struct {
	Hash   crypto.Hash
	ECDSA  bool   // false: RSA
	Issuer string // of the signer's certificate, as RFC 2253 writes it; "" if it is named by KeyID
	Serial string // of that certificate, in hex
	KeyID  []byte // the signer's subject key identifier, if named by that
	Size   int    // bytes appended to the module, in all

	digest    []byte // of the module
	rawIssuer []byte
	signature []byte
}

// Read parts a signed module into the module and its signature. It says nothing
// of whether the signature is right: see Check. The error is ErrUnsigned for a
// module without one, and a *FormatError for one that the kernel would not read.
func Read(data []byte) (module []byte, s *Signature, err error) {
	module, cms, err := split(data)
	if err != nil {
		return nil, nil, err
	}
	signer, err := parse(cms)
	if err != nil {
		return nil, nil, err
	}
	s = &Signature{Size: len(data) - len(module), signature: signer.Signature}
	if err := s.algorithms(signer); err != nil {
		return nil, nil, err
	}
	if err := s.signer(signer.SID); err != nil {
		return nil, nil, err
	}
	h := s.Hash.New()
	h.Write(module)
	s.digest = h.Sum(nil)
	return module, s, nil
}

// parse reads CMS and holds it to what the kernel accepts of a module.
func parse(cms []byte) (*signerInfo, error) {
	var outer contentInfo
	if rest, err := asn1.Unmarshal(cms, &outer); err != nil || len(rest) > 0 {
		return nil, formatErrorf("it is no CMS content (%d bytes left over, %v)", len(rest), err)
	}
	if !outer.Type.Equal(oidSignedData) {
		return nil, formatErrorf("its content is of type %v, not signed data", outer.Type)
	}
	var d signedData
	if rest, err := asn1.Unmarshal(outer.Content.Bytes, &d); err != nil || len(rest) > 0 {
		return nil, formatErrorf("its signed data cannot be read (%d bytes left over, %v)", len(rest), err)
	}
	switch {
	case !d.Encap.Type.Equal(oidData):
		return nil, formatErrorf("it signs content of type %v, not data", d.Encap.Type)
	case len(d.Encap.Content.FullBytes) > 0:
		return nil, formatErrorf("it has content of its own; a module's signature must be detached")
	case len(d.Signers) != 1:
		return nil, formatErrorf("it has %d signers; one is supported", len(d.Signers))
	case len(d.Signers[0].SignedAttrs.FullBytes) > 0:
		return nil, formatErrorf("it has signed attributes, which the kernel refuses for modules")
	}
	return &d.Signers[0], nil
}

func (s *Signature) algorithms(signer *signerInfo) error {
	for _, h := range hashes {
		if !signer.DigestAlgorithm.Algorithm.Equal(h.oid) {
			continue
		}
		s.Hash = h.hash
		switch {
		case signer.Algorithm.Algorithm.Equal(oidRSA):
			return nil
		case signer.Algorithm.Algorithm.Equal(h.ecdsa):
			s.ECDSA = true
			return nil
		}
		return formatErrorf("its algorithm %v does not belong to the hash %s", signer.Algorithm.Algorithm, h.name)
	}
	return formatErrorf("its hash %v is none that the kernel has for modules", signer.DigestAlgorithm.Algorithm)
}

// signer reads who signed.
func (s *Signature) signer(sid asn1.RawValue) error {
	if sid.Class == asn1.ClassContextSpecific && sid.Tag == 0 && !sid.IsCompound && len(sid.Bytes) > 0 {
		s.KeyID = sid.Bytes
		return nil
	}
	var is issuerAndSerial
	if rest, err := asn1.Unmarshal(sid.FullBytes, &is); err != nil || len(rest) > 0 || is.Serial == nil {
		return formatErrorf("its signer cannot be read (%v)", err)
	}
	var name pkix.RDNSequence
	if rest, err := asn1.Unmarshal(is.Issuer.FullBytes, &name); err != nil || len(rest) > 0 {
		return formatErrorf("the name of its signer cannot be read (%v)", err)
	}
	s.rawIssuer, s.Issuer, s.Serial = is.Issuer.FullBytes, name.String(), fmt.Sprintf("%x", is.Serial)
	return nil
}

// ErrOtherSigner says that a certificate is not that of the signer.
var ErrOtherSigner = errors.New("the signature is by somebody else than this certificate")

// Check verifies the signature with the signer's certificate. Whether a kernel
// trusts that certificate is not its question.
func (s *Signature) Check(cert *x509.Certificate) error {
	if s.KeyID != nil && !bytes.Equal(s.KeyID, cert.SubjectKeyId) ||
		s.KeyID == nil && (!bytes.Equal(s.rawIssuer, cert.RawIssuer) || s.Serial != fmt.Sprintf("%x", cert.SerialNumber)) {
		return ErrOtherSigner
	}
	ok := false
	switch key := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		ok = !s.ECDSA && rsa.VerifyPKCS1v15(key, s.Hash, s.digest, s.signature) == nil
	case *ecdsa.PublicKey:
		ok = s.ECDSA && ecdsa.VerifyASN1(key, s.digest, s.signature)
	}
	if !ok {
		return errors.New("the signature is not one of this module by this key: the module was changed after it was signed, or the key is another")
	}
	return nil
}
