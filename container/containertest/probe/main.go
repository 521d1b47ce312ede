// SPDX-License-Identifier: Apache-2.0

// Command probe is the program of the contract suite's containers; containertest.Behaviour says what it does.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"github.com/flocker-project/flocker/container/containertest"
)

func main() {
	code, err := probe(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func probe(args []string) (int, error) {
	b, err := containertest.Behave(args)
	if err != nil {
		return 0, err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	memory := fill(b.Fill)
	defer runtime.KeepAlive(memory)
	if b.Write != "" {
		if err := os.WriteFile(b.Write, []byte("written"), 0o644); err != nil {
			return 0, err
		}
	}
	for _, line := range b.Print {
		fmt.Println(line)
	}
	if b.Resolve != "" {
		if err := resolve(b.Resolve); err != nil {
			return 0, err
		}
	}
	if b.Listen != "" {
		if err := listen(b.Listen); err != nil {
			return 0, err
		}
	}
	if b.Child {
		if err := child(); err != nil {
			return 0, err
		}
	}
	if !b.Wait {
		return b.Exit, nil
	}
	return wait(b, signals), nil
}

// fill uses memory by writing to every page of it.
func fill(mebibytes int) []byte {
	memory := make([]byte, mebibytes<<20)
	for i := 0; i < len(memory); i += os.Getpagesize() {
		memory[i] = 1
	}
	return memory
}

func wait(b containertest.Behaviour, signals <-chan os.Signal) int {
	for s := range signals {
		switch {
		case s == syscall.SIGINT:
			return containertest.InterruptCode
		case !b.IgnoreTerm:
			return 0
		}
	}
	return 1
}

func listen(port string) error {
	listener, err := net.Listen("tcp", ":"+port) //nolint:noctx // for the process's whole life
	if err != nil {
		return err
	}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(connection, connection.RemoteAddr())
			connection.Close()
		}
	}()
	return nil
}

// resolve asks only the file of names: no server is to be waited for.
func resolve(name string) error {
	files := net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no server is asked")
	}}
	addresses, err := files.LookupHost(context.Background(), name)
	if err != nil {
		return err
	}
	fmt.Println(strings.Join(addresses, " "))
	return nil
}

func child() error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_, err = os.StartProcess("/probe", []string{"/probe", "ignore-term", "wait"}, &os.ProcAttr{Files: []*os.File{null, null, null}})
	return err
}
