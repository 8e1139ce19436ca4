// SPDX-License-Identifier: Apache-2.0

package index

import (
	"bytes"
	"math/bits"
)

// hashName is the hash of the table of names: part of the format. The bytes are
// taken eight at a time, little-endian, the last padded with zeros.
func hashName(b []byte) uint64 {
	const k = 0x9e3779b97f4a7c15
	h := uint64(len(b)) * k
	for ; len(b) >= 8; b = b[8:] {
		h = (h ^ le.Uint64(b)) * k
		h = bits.RotateLeft64(h, 29)
	}
	var tail uint64
	for i, c := range b {
		tail |= uint64(c) << (8 * i)
	}
	h = (h ^ tail) * k
	return h ^ h>>32
}

// interner gives each distinct string a number, from 0 on. Number 0 is "".
type interner struct {
	text   []byte   // all strings, each with a NUL behind it
	starts []uint32 // of each string in text
	hashes []uint64
	slots  []uint32 // number + 1, by hash; length is a power of two
}

func newInterner() *interner {
	in := &interner{slots: make([]uint32, 1<<12)}
	in.add(nil)
	return in
}

func (in *interner) len() int { return len(in.starts) }

// bytes is the string of a number; it lives as long as nothing is added.
func (in *interner) bytes(id uint32) []byte {
	end := len(in.text)
	if int(id)+1 < len(in.starts) {
		end = int(in.starts[id+1])
	}
	return in.text[in.starts[id] : end-1]
}

func (in *interner) add(b []byte) uint32 { return in.addHashed(b, hashName(b)) }

func (in *interner) addHashed(b []byte, h uint64) uint32 {
	mask := uint64(len(in.slots) - 1)
	i := h & mask
	for ; in.slots[i] != 0; i = (i + 1) & mask {
		if id := in.slots[i] - 1; in.hashes[id] == h && bytes.Equal(in.bytes(id), b) {
			return id
		}
	}
	id := uint32(len(in.starts))
	in.starts = append(in.starts, uint32(len(in.text)))
	in.hashes = append(in.hashes, h)
	in.text = append(append(in.text, b...), 0)
	in.slots[i] = id + 1
	if 2*len(in.starts) > len(in.slots) {
		in.slots = slotsOf(in.hashes, 4*len(in.starts))
	}
	return id
}

// slotsOf is the hash table of numbered strings: at least room slots, number+1
// in the first free slot from the hash on.
func slotsOf(hashes []uint64, room int) []uint32 {
	n := 1 << bits.Len(uint(max(room, 2)-1))
	slots := make([]uint32, n)
	for id, h := range hashes {
		i := h & uint64(n-1)
		for slots[i] != 0 {
			i = (i + 1) & uint64(n-1)
		}
		slots[i] = uint32(id) + 1
	}
	return slots
}

// table maps small numbers to numbers, and is emptied in one step.
type table struct {
	now    uint32
	stamps []uint32 // of the last reset before the entry was put
	values []uint32
}

func (t *table) reset() { t.now++ }

func (t *table) get(i uint32) (v uint32, ok bool) {
	if uint64(i) < uint64(len(t.stamps)) && t.stamps[i] == t.now {
		return t.values[i], true
	}
	return 0, false
}

func (t *table) put(i, v uint32) {
	if n := int(i) + 1; n > len(t.stamps) {
		n += n / 2
		t.stamps = append(t.stamps, make([]uint32, n-len(t.stamps))...)
		t.values = append(t.values, make([]uint32, n-len(t.values))...)
	}
	t.stamps[i], t.values[i] = t.now, v
}
