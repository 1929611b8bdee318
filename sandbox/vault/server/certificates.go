package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const certificateLifetime = 10 * 365 * 24 * time.Hour

// ensureCertificates returns the files of the server's certificate and key. When they are not
// there, they are made, with a CA of their own whose certificate is in ca.crt beside them.
func ensureCertificates(directory string) (certificate, key string, err error) {
	certificate, key = filepath.Join(directory, "server.crt"), filepath.Join(directory, "server.key")
	if _, err := os.Stat(certificate); err == nil {
		return certificate, key, nil
	}
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return "", "", err
	}
	authority := template("sandbox Vault CA")
	authority.IsCA, authority.BasicConstraintsValid = true, true
	authority.KeyUsage = x509.KeyUsageCertSign
	authorityKey, err := sign(authority, authority, nil, filepath.Join(directory, "ca.crt"), "")
	if err != nil {
		return "", "", err
	}
	server := template("sandbox Vault")
	server.DNSNames = []string{"localhost"}
	server.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	_, err = sign(server, authority, authorityKey, certificate, key)
	return certificate, key, err
}

func template(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Minute),
		NotAfter:     time.Now().Add(certificateLifetime),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
}

// sign makes a key, writes its certificate (by itself without a parent's key) and, where a
// file is named for it, the key.
func sign(subject, parent *x509.Certificate, parentKey *ecdsa.PrivateKey, file, keyFile string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if parentKey == nil {
		parentKey = key
	}
	made, err := x509.CreateCertificate(rand.Reader, subject, parent, &key.PublicKey, parentKey)
	if err != nil {
		return nil, err
	}
	if keyFile != "" {
		encoded, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, err
		}
		if err := writePEM(keyFile, "PRIVATE KEY", encoded); err != nil {
			return nil, err
		}
	}
	return key, writePEM(file, "CERTIFICATE", made)
}

func writePEM(file, kind string, content []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600)
}
