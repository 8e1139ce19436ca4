// SPDX-License-Identifier: Apache-2.0

package modsig

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
)

// Sign returns the module with a signature appended, as the kernel's
// scripts/sign-file makes it: the signer is named by issuer and serial number,
// and the certificate is not included, for the kernel has it in a keyring. An
// RSA signature is the same every time; an ECDSA one is not.
func Sign(module []byte, key crypto.Signer, cert *x509.Certificate, hash crypto.Hash) ([]byte, error) {
	if Present(module) {
		return nil, errors.New("sign the module: it is signed already: give the unsigned one")
	}
	public, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(key.Public()) {
		return nil, errors.New("sign the module: the certificate is not that of the key")
	}
	digestOID, algorithm, err := algorithms(key.Public(), hash)
	if err != nil {
		return nil, fmt.Errorf("sign the module: %w", err)
	}
	h := hash.New()
	h.Write(module)
	signature, err := key.Sign(rand.Reader, h.Sum(nil), hash)
	if err != nil {
		return nil, fmt.Errorf("sign the module: %w", err)
	}
	sid, err := asn1.Marshal(issuerAndSerial{Issuer: asn1.RawValue{FullBytes: cert.RawIssuer}, Serial: cert.SerialNumber})
	if err != nil {
		return nil, fmt.Errorf("sign the module: name the signer: %w", err)
	}
	digest := pkix.AlgorithmIdentifier{Algorithm: digestOID}
	data, err := asn1.Marshal(signedData{
		Version: 1, DigestAlgorithms: []pkix.AlgorithmIdentifier{digest}, Encap: encapsulated{Type: oidData},
		Signers: []signerInfo{{Version: 1, SID: asn1.RawValue{FullBytes: sid}, DigestAlgorithm: digest, Algorithm: algorithm, Signature: signature}},
	})
	if err != nil {
		return nil, fmt.Errorf("sign the module: %w", err)
	}
	cms, err := asn1.Marshal(contentInfo{Type: oidSignedData, Content: asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: data}})
	if err != nil {
		return nil, fmt.Errorf("sign the module: %w", err)
	}
	return join(module, cms), nil
}

// algorithms are the object identifiers for a key and a hash.
func algorithms(key crypto.PublicKey, hash crypto.Hash) (digest asn1.ObjectIdentifier, signature pkix.AlgorithmIdentifier, err error) {
	for _, h := range hashes {
		if h.hash != hash {
			continue
		}
		switch key := key.(type) {
		case *rsa.PublicKey:
			return h.oid, pkix.AlgorithmIdentifier{Algorithm: oidRSA, Parameters: asn1.NullRawValue}, nil
		case *ecdsa.PublicKey:
			if bits := key.Curve.Params().BitSize; bits != 256 && bits != 384 { // crypto/ecdsa.c; P-521 is newer than 6.1
				return nil, signature, fmt.Errorf("the key is on a curve of %d bits: the kernel knows P-256 and P-384", bits)
			}
			return h.oid, pkix.AlgorithmIdentifier{Algorithm: h.ecdsa}, nil
		}
		return nil, signature, fmt.Errorf("a key of type %T: the kernel takes RSA and ECDSA keys", key)
	}
	return nil, signature, fmt.Errorf("hash %v is none for module signatures: use SHA-256", hash)
}
