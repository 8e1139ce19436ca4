// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Version is the version of the protocol; host and agent are the same program,
// so any difference is an error.
const Version = 1

const (
	// MaxLine bounds a line from the guest, in bytes with its newline.
	MaxLine = 4 << 20
	// MaxRequest bounds a line to the guest.
	MaxRequest = 32 << 10
	// MaxRead bounds the file contents of one OpRead answer.
	MaxRead = 2 << 20
	// MaxOutput bounds the captured output of one command.
	MaxOutput = 64 << 10
)

// Paths in the guest that both sides know.
const (
	// TokenPath holds the host's random token; it also tells the program that
	// it runs as the guest's init.
	TokenPath = "/.kmend/token"
	// ControlDevice is the serial port of the protocol.
	ControlDevice = "/dev/ttyS1"
	// InitPath is where the kernel finds the agent.
	InitPath = "/init"
	// ExitPort is the I/O port of QEMU's isa-debug-exit device.
	ExitPort = 0x501
)

// Op names an operation of the agent.
type Op string

// The operations. Each names the request fields that it uses.
const (
	OpRead       Op = "read"       // Path, Max: contents of a file
	OpWrite      Op = "write"      // Path, Data, Append, Mode: create or write a file
	OpList       Op = "list"       // Path: sorted names in a directory
	OpLoad       Op = "load"       // Path, Params: finit_module
	OpUnload     Op = "unload"     // Name, TimeoutMS: delete_module, again while EAGAIN
	OpRun        Op = "run"        // Argv, Env, Dir, TimeoutMS: run a command to its end
	OpLog        Op = "log"        // kernel log records that were not read yet
	OpMark       Op = "mark"       // Name: write a line into the kernel log
	OpTransition Op = "transition" // Name, TimeoutMS: wait until no transition is under way
	OpFinish     Op = "finish"     // Token: echo it
	OpQuit       Op = "quit"       // switch the guest off; there is no answer
)

// Request asks the agent for one operation.
type Request struct {
	ID        int      `json:"id"`
	Op        Op       `json:"op"`
	Path      string   `json:"path,omitempty"`
	Name      string   `json:"name,omitempty"`
	Params    string   `json:"params,omitempty"`
	Token     string   `json:"token,omitempty"`
	Argv      []string `json:"argv,omitempty"`
	Env       []string `json:"env,omitempty"`
	Dir       string   `json:"dir,omitempty"`
	Data      []byte   `json:"data,omitempty"`
	Append    bool     `json:"append,omitempty"`
	Mode      uint32   `json:"mode,omitempty"`
	Max       int      `json:"max,omitempty"`
	TimeoutMS int      `json:"timeout_ms,omitempty"`
}

// Response answers the request with the same ID; ID 0 is the greeting.
type Response struct {
	ID int `json:"id"`
	// Error is empty when the operation was done. Errno is the error number
	// of the system call that failed, where there is one.
	Error string `json:"error,omitempty"`
	Errno int    `json:"errno,omitempty"`

	Greeting *Greeting `json:"greeting,omitempty"`
	Data     []byte    `json:"data,omitempty"` // contents of a file, output of a command
	More     bool      `json:"more,omitempty"` // Data or Records are not all there is
	Names    []string  `json:"names,omitempty"`
	Exit     *Exit     `json:"exit,omitempty"`
	Records  []Record  `json:"records,omitempty"`
	Lost     int       `json:"lost,omitempty"` // times that records were overwritten before they were read
	Done     bool      `json:"done,omitempty"` // the transition is over
	Blockers []Task    `json:"blockers,omitempty"`
	Token    string    `json:"token,omitempty"`
	// ElapsedMS is the time the operation took by the guest's monotonic clock.
	ElapsedMS int64 `json:"elapsed_ms,omitempty"`
}

// Greeting is what the agent says about the guest when it is up.
type Greeting struct {
	Version  int    `json:"version"`
	Token    string `json:"token"`
	Release  string `json:"release"`   // uname -r
	BuildID  string `json:"build_id"`  // hex, from /sys/kernel/notes
	CPUs     int    `json:"cpus"`      // online
	UptimeMS int64  `json:"uptime_ms"` // since the kernel's start, when the agent was ready
}

// Exit is how a command ended.
type Exit struct {
	Code     int  `json:"code"`             // exit status, or 128+signal
	Signal   int  `json:"signal,omitempty"` // signal that ended it
	TimedOut bool `json:"timed_out,omitempty"`
}

// Record is one record of the kernel log, as /dev/kmsg gives it.
type Record struct {
	Seq      uint64 `json:"s"`
	Priority int    `json:"p"` // facility*8 + level; facility 0 is the kernel itself
	Micros   int64  `json:"t"` // since boot
	Text     string `json:"m"`
}

// Kernel reports whether the kernel itself wrote the record.
func (r Record) Kernel() bool { return r.Priority>>3 == 0 }

// Task is a thread that keeps a transition from completing.
type Task struct {
	PID        int    `json:"pid"`
	TID        int    `json:"tid"`
	Comm       string `json:"comm"`
	State      string `json:"state,omitempty"`
	PatchState int    `json:"patch_state"`
	Kthread    bool   `json:"kthread,omitempty"`
	Wchan      string `json:"wchan,omitempty"`
	Stack      string `json:"stack,omitempty"`
}

// ErrLineTooLong is returned for a line beyond the bound.
var ErrLineTooLong = errors.New("line is longer than the protocol allows")

// Decoder reads bounded JSON lines.
type Decoder struct {
	r   *bufio.Reader
	max int
}

// NewDecoder returns a decoder of lines of at most max bytes.
func NewDecoder(r io.Reader, max int) *Decoder {
	return &Decoder{r: bufio.NewReaderSize(r, 16<<10), max: max}
}

// Decode reads one line into v. It returns io.EOF at the end of the stream when
// nothing was pending, and io.ErrUnexpectedEOF within a line.
func (d *Decoder) Decode(v any) error {
	line, err := d.line()
	if err != nil {
		return err
	}
	if err := json.Unmarshal(line, v); err != nil {
		return fmt.Errorf("decode a protocol line of %d bytes starting %.40q: %w", len(line), line, err)
	}
	return nil
}

func (d *Decoder) line() ([]byte, error) {
	var line []byte
	for {
		part, err := d.r.ReadSlice('\n')
		if len(line)+len(part) > d.max {
			return nil, ErrLineTooLong
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(line) > 0:
			return nil, io.ErrUnexpectedEOF
		default:
			return nil, err
		}
	}
}

// Encode writes v as one line of at most max bytes.
func Encode(w io.Writer, v any, max int) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode a protocol line: %w", err)
	}
	if len(b)+1 > max {
		return fmt.Errorf("encode a protocol line of %d bytes: %w", len(b)+1, ErrLineTooLong)
	}
	_, err = w.Write(append(b, '\n'))
	return err
}
