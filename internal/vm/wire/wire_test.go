// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
)

func TestRoundTrip(t *testing.T) {
	var b bytes.Buffer
	sent := []Response{
		{ID: 0, Greeting: &Greeting{Version: Version, Token: "t", BuildID: "ab"}},
		{ID: 7, Error: "no such device", Errno: 19, Data: []byte{0, '\n', 255}},
		{ID: 8, Records: []Record{{Seq: 1, Priority: 12, Text: "a\nb"}}, Blockers: []Task{{TID: 3, Stack: "x"}}},
	}
	for _, s := range sent {
		if err := Encode(&b, s, MaxLine); err != nil {
			t.Fatal(err)
		}
	}
	d := NewDecoder(&b, MaxLine)
	for _, want := range sent {
		var got Response
		if err := d.Decode(&got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	var r Response
	if err := d.Decode(&r); err != io.EOF {
		t.Errorf("at the end: %v, want io.EOF", err)
	}
}

func TestBounds(t *testing.T) {
	long := `{"id":1,"error":"` + strings.Repeat("x", 100_000) + `"}` + "\n"
	var r Response
	if err := NewDecoder(strings.NewReader(long), 50_000).Decode(&r); !errors.Is(err, ErrLineTooLong) {
		t.Errorf("long line: %v", err)
	}
	if err := NewDecoder(strings.NewReader(long), len(long)).Decode(&r); err != nil {
		t.Errorf("line of exactly the bound: %v", err)
	}
	if err := NewDecoder(strings.NewReader(`{"id":1}`), 100).Decode(&r); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut line: %v", err)
	}
	if err := Encode(io.Discard, Request{Path: strings.Repeat("x", MaxRequest)}, MaxRequest); !errors.Is(err, ErrLineTooLong) {
		t.Errorf("long request: %v", err)
	}
}

// FuzzDecode: whatever the guest sends, decoding ends, in bounded memory, with
// a value that can be encoded again or an error.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"id":0,"greeting":{"version":1,"token":"t","build_id":"00"}}` + "\n"))
	f.Add([]byte("\x00\x00\n{}\n[]\nnull\n"))
	f.Add([]byte(`{"id":1,"records":[{"s":1,"p":6,"t":5,"m":"x"}],"exit":{"code":1}}` + "\n{"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d := NewDecoder(bytes.NewReader(data), 1<<10)
		for {
			var r Response
			err := d.Decode(&r)
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, ErrLineTooLong) {
				return
			}
			if err == nil {
				if err := Encode(io.Discard, r, MaxLine); err != nil {
					t.Fatalf("decoded value does not encode: %v", err)
				}
			}
		}
	})
}
