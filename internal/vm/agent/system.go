// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"kmend/internal/vm/wire"
)

// mountAll mounts what the operations read. debugfs and tracefs are evidence
// only, so a kernel without them is not an error.
func mountAll() error {
	for _, m := range []struct {
		fstype, dir string
		optional    bool
	}{
		{"proc", "/proc", false},
		{"sysfs", "/sys", false},
		{"devtmpfs", "/dev", false},
		{"debugfs", "/sys/kernel/debug", true},
		{"tracefs", "/sys/kernel/tracing", true},
		{"tmpfs", "/dev/shm", true},
		{"devpts", "/dev/pts", true},
	} {
		if !m.optional || m.fstype == "tmpfs" || m.fstype == "devpts" {
			_ = os.MkdirAll(m.dir, 0o755)
		}
		err := unix.Mount(m.fstype, m.dir, m.fstype, 0, "")
		if err != nil && !m.optional && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s on %s: %w", m.fstype, m.dir, err)
		}
	}
	return nil
}

// openControl opens a serial port as a byte pipe: no echo, no translation.
func openControl(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("open the control port: %w", err)
	}
	t := unix.Termios{Cflag: unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B115200}
	t.Cc[unix.VMIN] = 1
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("set up the control port: %w", err)
	}
	var ioctlErr error
	if err := conn.Control(func(fd uintptr) {
		ioctlErr = unix.IoctlSetTermios(int(fd), unix.TCSETS, &t)
	}); err != nil {
		return nil, fmt.Errorf("set up the control port: %w", err)
	}
	if ioctlErr != nil {
		return nil, fmt.Errorf("set up the control port: %w", ioctlErr)
	}
	return f, nil
}

// powerOff ends the guest through QEMU's exit device, else through the
// firmware, else through a panic, which QEMU was told to exit on.
func powerOff() {
	if f, err := os.OpenFile("/dev/port", os.O_WRONLY, 0); err == nil {
		_, _ = f.WriteAt([]byte{0}, wire.ExitPort)
	}
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	os.Exit(1)
}

// buildID finds the GNU build id in the notes of the running kernel
// (/sys/kernel/notes: gABI note records, 4-byte aligned).
func buildID(notes []byte) (string, error) {
	const ntGNUBuildID = 3
	for rest := notes; len(rest) >= 12; {
		nameLen := uint64(binary.LittleEndian.Uint32(rest))
		descLen := uint64(binary.LittleEndian.Uint32(rest[4:]))
		kind := binary.LittleEndian.Uint32(rest[8:])
		desc := 12 + (nameLen+3)&^3
		end := desc + descLen
		if end > uint64(len(rest)) {
			break
		}
		if kind == ntGNUBuildID && bytes.Equal(rest[12:12+nameLen], []byte("GNU\x00")) {
			return hex.EncodeToString(rest[desc:end]), nil
		}
		next := (end + 3) &^ 3
		if next > uint64(len(rest)) {
			break
		}
		rest = rest[next:]
	}
	return "", errors.New("no GNU build id in the notes")
}

func isGone(err error) bool { return errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) }
