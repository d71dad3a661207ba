//go:build !unix

package pgtest

import (
	"net"
	"os/exec"
)

func asUser(*exec.Cmd)      {}
func own(string) error      { return nil }
func kill(s *Server)        { s.cmd.Process.Kill() }
func (s *Server) waitGone() {}
func pause(*Server)         {}
func resume(*Server)        {}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
