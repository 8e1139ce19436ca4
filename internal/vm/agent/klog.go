// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"kmend/internal/vm/wire"
)

// kernelLog reads /dev/kmsg from the first record on, without blocking.
type kernelLog struct{ fd int }

func (k *kernelLog) open(path string) error {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the kernel log: %w", err)
	}
	if _, err := unix.Seek(fd, 0, unix.SEEK_SET); err != nil {
		return fmt.Errorf("rewind the kernel log: %w", err)
	}
	k.fd = fd
	return nil
}

// read answers with the records since the last call, and More when there are
// further ones. The bound keeps a line well below wire.MaxLine.
func (k *kernelLog) read(resp *wire.Response) error {
	buf := make([]byte, 16<<10) // one read gives one record, at most 8 KiB (kernel/printk/printk.c)
	for size := 0; size < wire.MaxLine/16; {
		n, err := unix.Read(k.fd, buf)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EPIPE): // overwritten before it was read; the next read goes on
			resp.Lost++
			continue
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("read the kernel log: %w", err)
		}
		rec, err := parseRecord(buf[:n])
		if err != nil {
			return err
		}
		resp.Records = append(resp.Records, rec)
		size += n
	}
	resp.More = true
	return nil
}

func (k *kernelLog) mark(text string) error {
	// <13> is facility "user", level "notice": told apart from the kernel's own.
	if _, err := unix.Write(k.fd, []byte("<13>kmend: "+strings.ReplaceAll(text, "\n", " ")+"\n")); err != nil {
		return fmt.Errorf("write into the kernel log: %w", err)
	}
	return nil
}

// parseRecord reads "priority,sequence,microseconds,flags[,…];text\n[ KEY=value\n…]"
// (Documentation/ABI/testing/dev-kmsg).
func parseRecord(b []byte) (wire.Record, error) {
	head, text, ok := bytes.Cut(b, []byte(";"))
	fields := strings.Split(string(head), ",")
	if !ok || len(fields) < 3 {
		return wire.Record{}, fmt.Errorf("kernel log record %.60q has no header", b)
	}
	prio, err1 := strconv.Atoi(fields[0])
	seq, err2 := strconv.ParseUint(fields[1], 10, 64)
	micros, err3 := strconv.ParseInt(fields[2], 10, 64)
	if err := errors.Join(err1, err2, err3); err != nil {
		return wire.Record{}, fmt.Errorf("kernel log record %.60q: %w", b, err)
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	return wire.Record{Seq: seq, Priority: prio, Micros: micros, Text: string(line)}, nil
}
