// SPDX-License-Identifier: Apache-2.0

package run

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Cache is a directory of results found again by the hash of everything they
// depend on. An entry is one file, so that it appears and disappears as a
// whole; the directory can be deleted at any time, and several processes can
// use it at once.
//
// Entry: the magic line, the SHA-256 of the rest, then for each file in order
// of name: length of name, name, length of data, data (lengths are
// little-endian uint64).
type Cache struct{ dir string }

const (
	cacheMagic    = "kmend object 1\n"
	maxCacheEntry = 1 << 30
)

// Key names an entry: 64 hex digits.
type Key string

// CacheDir is the base of everything kmend keeps that can be made again:
// $XDG_CACHE_HOME/kmend, by default ~/.cache/kmend.
func CacheDir() (string, error) {
	if d := os.Getenv("XDG_CACHE_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "kmend"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the cache directory: %w; set XDG_CACHE_HOME to an absolute path", err)
	}
	return filepath.Join(home, ".cache", "kmend"), nil
}

// OpenCache returns the object cache of this user. Nothing is created before
// the first Put.
func OpenCache() (*Cache, error) {
	d, err := CacheDir()
	if err != nil {
		return nil, err
	}
	return CacheAt(filepath.Join(d, "objects")), nil
}

// CacheAt returns the cache that lives in dir.
func CacheAt(dir string) *Cache { return &Cache{dir: dir} }

// Dir is the directory of the cache.
func (c *Cache) Dir() string { return c.dir }

func (c *Cache) path(k Key) (string, error) {
	if len(k) != 2*sha256.Size {
		return "", fmt.Errorf("use cache: %q is not a key", k)
	}
	if _, err := hex.DecodeString(string(k)); err != nil {
		return "", fmt.Errorf("use cache: %q is not a key", k)
	}
	return filepath.Join(c.dir, string(k[:2]), string(k[2:])), nil
}

// Get returns the files stored under k. An entry that is missing or damaged is
// not found; a damaged one is removed. Other errors mean the cache itself
// cannot be read.
func (c *Cache) Get(k Key) (map[string][]byte, bool, error) {
	p, err := c.path(k)
	if err != nil {
		return nil, false, err
	}
	f, err := os.Open(p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read cache: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxCacheEntry+1))
	if err != nil {
		return nil, false, fmt.Errorf("read cache: %w", err)
	}
	files, err := decodeEntry(data)
	if err != nil {
		// A cut or altered entry is as good as none; the next Put writes it anew.
		os.Remove(p)
		return nil, false, nil
	}
	return files, true, nil
}

// Put stores files under k, replacing what is there. It is atomic: a reader
// sees all files of one Put or none.
func (c *Cache) Put(k Key, files map[string][]byte) (err error) {
	p, err := c.path(k)
	if err != nil {
		return err
	}
	data := encodeEntry(files)
	if len(data) > maxCacheEntry {
		return fmt.Errorf("write cache: entry of %d bytes is over the limit of %d", len(data), maxCacheEntry)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write cache: %w", err)
		}
	}()
	// Whoever deletes the cache may do it between these two calls: try again.
	var tmp *os.File
	for range 3 {
		if err = os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return err
		}
		tmp, err = os.CreateTemp(filepath.Dir(p), ".tmp-*")
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if _, err = tmp.Write(data); err != nil {
		tmp.Close()
		return err
	}
	if err = tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), p)
}

func encodeEntry(files map[string][]byte) []byte {
	names := make([]string, 0, len(files))
	size := 0
	for n, d := range files {
		names = append(names, n)
		size += 16 + len(n) + len(d)
	}
	slices.Sort(names)
	body := make([]byte, 0, size)
	for _, n := range names {
		body = binary.LittleEndian.AppendUint64(body, uint64(len(n)))
		body = append(body, n...)
		body = binary.LittleEndian.AppendUint64(body, uint64(len(files[n])))
		body = append(body, files[n]...)
	}
	sum := sha256.Sum256(body)
	out := make([]byte, 0, len(cacheMagic)+len(sum)+len(body))
	return append(append(append(out, cacheMagic...), sum[:]...), body...)
}

var errEntry = errors.New("damaged cache entry")

func decodeEntry(data []byte) (map[string][]byte, error) {
	rest, ok := bytes.CutPrefix(data, []byte(cacheMagic))
	if !ok || len(rest) < sha256.Size {
		return nil, errEntry
	}
	body := rest[sha256.Size:]
	if sum := sha256.Sum256(body); !bytes.Equal(sum[:], rest[:sha256.Size]) {
		return nil, errEntry
	}
	next := func() ([]byte, bool) {
		if len(body) < 8 {
			return nil, false
		}
		n := binary.LittleEndian.Uint64(body)
		body = body[8:]
		if n > uint64(len(body)) {
			return nil, false
		}
		v := body[:n:n]
		body = body[n:]
		return v, true
	}
	files := map[string][]byte{}
	for len(body) > 0 {
		name, ok1 := next()
		val, ok2 := next()
		if !ok1 || !ok2 {
			return nil, errEntry
		}
		files[string(name)] = val
	}
	return files, nil
}

// Hasher makes a Key out of parts; each part is framed by its length, so that
// ("ab","c") and ("a","bc") differ.
type Hasher struct{ h hash.Hash }

// NewHasher starts a key; domain says what kind of entry it is and its version.
func NewHasher(domain string) *Hasher {
	h := &Hasher{sha256.New()}
	h.Add([]byte(domain))
	return h
}

// Add adds one part.
func (h *Hasher) Add(p []byte) {
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], uint64(len(p)))
	h.h.Write(n[:])
	h.h.Write(p)
}

// AddString adds the number of parts and each part.
func (h *Hasher) AddString(parts ...string) {
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], uint64(len(parts)))
	h.h.Write(n[:])
	for _, p := range parts {
		h.Add([]byte(p))
	}
}

// Key is the key of what was added so far.
func (h *Hasher) Key() Key { return Key(hex.EncodeToString(h.h.Sum(nil))) }
