//go:build unix

package pgtest

import (
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// unprivileged returns who runs the server if root runs the test.
func unprivileged() (cred *syscall.Credential) {
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	return nil
}

func asUser(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: unprivileged()}
	cmd.Env = append(os.Environ(), "LC_ALL=C", "HOME="+cmd.Dir)
}

func own(dir string) error {
	if c := unprivileged(); c != nil {
		return os.Chown(dir, int(c.Uid), int(c.Gid))
	}
	return nil
}

// processes are the server's: it has a session of its own for each of its children.
func (s *Server) processes() (pids []int) {
	pid := s.cmd.Process.Pid
	pids = []int{pid}
	out, _ := exec.Command("ps", "-o", "pid=", "--ppid", strconv.Itoa(pid)).Output()
	for f := range strings.FieldsSeq(string(out)) {
		if n, err := strconv.Atoi(f); err == nil {
			pids = append(pids, n)
		}
	}
	return pids
}

func kill(s *Server) {
	pids := s.processes()
	for _, pid := range pids {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	// Those that began meanwhile end by themselves when the postmaster has.
	for _, pid := range pids[1:] {
		for syscall.Kill(pid, 0) == nil {
			time.Sleep(time.Millisecond)
		}
	}
}

// waitGone waits until no process has the shared memory, and the lock file can be taken over.
func (s *Server) waitGone() {
	os.Remove(filepath.Join(s.data(), "postmaster.pid"))
	os.Remove(filepath.Join(s.Dir, ".s.PGSQL."+strconv.Itoa(s.Port)))
	os.Remove(filepath.Join(s.Dir, ".s.PGSQL."+strconv.Itoa(s.Port)+".lock"))
}

func pause(s *Server) {
	for _, pid := range s.processes() {
		syscall.Kill(pid, syscall.SIGSTOP)
	}
}

func resume(s *Server) {
	for _, pid := range s.processes() {
		syscall.Kill(pid, syscall.SIGCONT)
	}
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
