package readme

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"doorward/test/setup"
)

// pseudoTerminal opens a pseudo-terminal: what is written to ours arrives as typed input at theirs.
func pseudoTerminal(t *testing.T) (ours, theirs *os.File) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	setup.Need(t, err)
	t.Cleanup(func() { _ = ours.Close() })
	raw, err := ours.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var unlock, number int32
	control := func(request uintptr, value *int32) {
		t.Helper()
		var errno syscall.Errno
		err := raw.Control(func(fd uintptr) {
			_, _, errno = syscall.Syscall(
				syscall.SYS_IOCTL, fd, request, uintptr(unsafe.Pointer(value)), //nolint:gosec // ioctl expects a pointer
			)
		})
		if err != nil || errno != 0 {
			t.Fatalf("ioctl %#x: %v, %v", request, err, errno)
		}
	}
	control(syscall.TIOCSPTLCK, &unlock)
	control(syscall.TIOCGPTN, &number)
	theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = theirs.Close() })
	return ours, theirs
}

// Ctrl-C is the normal way to stop the demo, so it is not an error: make run succeeds, and the demo's database is
// deleted.
func TestV68_CtrlCStopsMakeRunWithoutAnError(t *testing.T) {
	root, err := setup.Root()
	if err != nil {
		t.Fatal(err)
	}
	_, err = exec.LookPath("make")
	setup.Need(t, err)
	ours, theirs := pseudoTerminal(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	dir := t.TempDir()
	c := exec.CommandContext(ctx, "make", "run", "DEMO="+filepath.Join(dir, "doorward"))
	// Under make test, this make must not look like part of that one, or it would print the folder that it leaves.
	c.Dir, c.Env = root, append(os.Environ(), "TMPDIR="+dir, "MAKEFLAGS=", "MAKELEVEL=")
	c.Stdin, c.Stdout, c.Stderr = theirs, theirs, theirs
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if err := theirs.Close(); err != nil { // so that reading ends when make exits
		t.Fatal(err)
	}
	var printed strings.Builder
	buffer := make([]byte, 4<<10)
	for stopped := false; ; {
		n, err := ours.Read(buffer)
		printed.Write(bytes.ReplaceAll(buffer[:n], []byte("\r"), nil))
		if !stopped && strings.Contains(printed.String(), "Stop with Ctrl-C.") {
			stopped = true
			if _, err := ours.WriteString("\x03"); err != nil {
				t.Fatal(err)
			}
		}
		if err != nil { // reading a terminal that all programs have closed is an input/output error
			break
		}
	}
	if err := c.Wait(); err != nil {
		t.Errorf("make run ends with: %v", err)
	}
	_, after, found := strings.Cut(printed.String(), "Stop with Ctrl-C.\n")
	if !found || strings.TrimSpace(strings.ReplaceAll(after, "^C", "")) != "" {
		t.Errorf("make run prints:\n%s\nwant nothing after Ctrl-C", printed.String())
	}
	if left, err := filepath.Glob(filepath.Join(dir, "doorward-demo-*")); err != nil || len(left) > 0 {
		t.Errorf("the demo leaves its database: %v, %v", left, err)
	}
}
