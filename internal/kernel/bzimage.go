// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/therootcompany/xz"
)

const (
	// maxImageSize bounds what an image may unpack to. Debian's amd64 images
	// are about 65 MB; an allyesconfig one stays below 300 MB.
	maxImageSize = 512 << 20
	// maxXZDict is the largest dictionary scripts/xz_wrap.sh has ever asked for.
	maxXZDict = 128 << 20
	// lz4LegacyBlock is the block size of the legacy LZ4 frame (lz4 -l).
	lz4LegacyBlock = 8 << 20
)

// UnpackBzImage returns the uncompressed payload (the ELF vmlinux, on x86
// sometimes followed by the relocation list) of a bzImage. The place of the
// payload comes from the setup header (Documentation/arch/x86/boot.rst:
// setup_sects at 0x1f1, payload_offset at 0x248, payload_length at 0x24c), the
// compression from its magic: xz (with the x86 BCJ filter), zstd, gzip or
// legacy LZ4. The last four bytes of the payload hold the unpacked size
// (scripts/Makefile.lib, size_append), which must be met exactly.
func UnpackBzImage(b []byte) ([]byte, error) {
	payload, err := bzImagePayload(b)
	if err != nil {
		return nil, fmt.Errorf("unpack bzImage: %w", err)
	}
	want := int64(binary.LittleEndian.Uint32(payload[len(payload)-4:]))
	if want == 0 || want > maxImageSize {
		return nil, fmt.Errorf("unpack bzImage: the payload says it unpacks to %d bytes, the limit is %d: the file is damaged", want, maxImageSize)
	}
	out, err := unpackPayload(payload, want)
	if err != nil {
		return nil, fmt.Errorf("unpack bzImage: %w", err)
	}
	if int64(len(out)) != want {
		return nil, fmt.Errorf("unpack bzImage: got %d bytes where the payload announces %d: the file is damaged", len(out), want)
	}
	return out, nil
}

// bzImagePayload cuts the compressed payload out of a bzImage.
func bzImagePayload(b []byte) ([]byte, error) {
	le := binary.LittleEndian
	if len(b) < 0x268 || le.Uint16(b[0x1fe:]) != 0xaa55 || string(b[0x202:0x206]) != "HdrS" {
		return nil, errors.New("no Linux x86 boot header: not a bzImage")
	}
	if v := le.Uint16(b[0x206:]); v < 0x208 {
		return nil, fmt.Errorf("boot protocol %d.%02d is too old (2.08 is needed to find the payload)", v>>8, v&0xff)
	}
	setup := (int64(b[0x1f1]) + 1) * 512
	if b[0x1f1] == 0 {
		setup = 5 * 512 // boot.rst: 0 means 4
	}
	off := setup + int64(le.Uint32(b[0x248:]))
	n := int64(le.Uint32(b[0x24c:]))
	if n < 16 || off+n > int64(len(b)) {
		return nil, fmt.Errorf("the payload lies at %d..%d in a file of %d bytes: the file is truncated", off, off+n, len(b))
	}
	return b[off : off+n], nil
}

func unpackPayload(p []byte, want int64) ([]byte, error) {
	switch {
	case bytes.HasPrefix(p, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		r, err := xz.NewReader(bytes.NewReader(p), maxXZDict)
		if err != nil {
			return nil, fmt.Errorf("xz: %w", err)
		}
		r.Multistream(false) // the appended size follows the stream
		return readBounded("xz", r, want)
	case bytes.HasPrefix(p, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		// The kernel's build appends the size after the frame, which a
		// streaming decoder would take for another frame.
		r, err := zstd.NewReader(bytes.NewReader(p[:len(p)-4]),
			zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxImageSize), zstd.WithDecoderMaxWindow(maxXZDict))
		if err != nil {
			return nil, fmt.Errorf("zstd: %w", err)
		}
		defer r.Close()
		return readBounded("zstd", r, want)
	case bytes.HasPrefix(p, []byte{0x1f, 0x8b}):
		r, err := gzip.NewReader(bytes.NewReader(p))
		if err != nil {
			return nil, fmt.Errorf("gzip: %w", err)
		}
		r.Multistream(false)
		return readBounded("gzip", r, want)
	case bytes.HasPrefix(p, []byte{0x02, 0x21, 0x4c, 0x18}):
		return unpackLZ4(p[4:len(p)-4], want)
	}
	for _, k := range []struct{ magic, name string }{
		{"BZh", "bzip2"}, {"\x5d\x00\x00", "lzma"}, {"\x89LZO", "lzo"}, {"\x7fELF", "none"},
	} {
		if bytes.HasPrefix(p, []byte(k.magic)) {
			return nil, fmt.Errorf("compression %s is not supported (xz, zstd, gzip and lz4 are)", k.name)
		}
	}
	return nil, fmt.Errorf("unknown compression: the payload starts with % x", p[:8])
}

// readBounded reads at most want+1 bytes, so that a stream longer than
// announced shows as a wrong length and never fills the memory. Memory grows
// with what really comes out, not with what a header claims.
func readBounded(kind string, r io.Reader, want int64) ([]byte, error) {
	var buf bytes.Buffer
	if want <= 96<<20 {
		buf.Grow(int(want) + bytes.MinRead)
	}
	if _, err := buf.ReadFrom(io.LimitReader(r, want+1)); err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	return buf.Bytes(), nil
}

// unpackLZ4 reads the blocks of a legacy LZ4 frame: each has a 32-bit
// compressed size and unpacks to at most 8 MiB.
func unpackLZ4(p []byte, want int64) ([]byte, error) {
	var out []byte
	block := make([]byte, lz4LegacyBlock)
	for len(p) > 0 {
		if len(p) < 4 {
			return nil, errors.New("lz4: block header truncated")
		}
		n := int64(binary.LittleEndian.Uint32(p))
		if n == 0 || n > int64(len(p)-4) {
			return nil, fmt.Errorf("lz4: a block of %d bytes where %d are left", n, len(p)-4)
		}
		m, err := lz4.UncompressBlock(p[4:4+n], block)
		if err != nil {
			return nil, fmt.Errorf("lz4: %w", err)
		}
		if int64(len(out)+m) > want {
			return nil, fmt.Errorf("lz4: more than the announced %d bytes", want)
		}
		out = append(out, block[:m]...)
		p = p[4+n:]
	}
	return out, nil
}
