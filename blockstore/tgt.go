// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/flocker-project/flocker/internal/run"
)

// tgt exports by iSCSI. Each export has a secret of its own (CHAP), which only the machine that attached it was told.
type tgt struct{}

const (
	// iqn is the beginning of all names of targets.
	iqn      = "iqn.2026-01.io.flocker:"
	tgtStart = 10 * time.Second
	tgtAgain = 2 * time.Millisecond
)

func (tgt) mark(w way) (program, argument string) { return "tgtd", "--pid-file=" + w.own("tgtd") }

func (tgt) name(w way) string { return iqn + w.id }

// files are the two by which tgtadm finds the process, which it makes where only it decides.
func (tgt) files(w way) []string {
	socket := tgtSocket(w)
	return []string{w.own("tgtd"), socket, socket + ".lock"}
}

func tgtSocket(w way) string { return "/var/run/tgtd/socket." + strconv.Itoa(w.Port) }

func (x tgt) start(ctx context.Context, w way) error {
	program, mark := x.mark(w)
	control := strconv.Itoa(w.Port)
	portal := net.JoinHostPort(cmp.Or(w.host, "0.0.0.0"), control)
	if err := run.Scoped(ctx, program, "--control-port="+control, mark, "--iscsi", "portal="+portal).Run(); err != nil {
		return err
	}
	err := x.furnish(ctx, w)
	if err != nil { // one that is half furnished would be taken for a whole one
		err = errors.Join(err, kill(context.WithoutCancel(ctx), x, w))
	}
	return err
}

// furnish lets somebody log in only when all else is there.
func (x tgt) furnish(ctx context.Context, w way) error {
	if err := listens(ctx, tgtSocket(w)); err != nil {
		return err
	}
	adm := func(args ...string) error {
		return run.Command(ctx, "tgtadm", append([]string{"--control-port=" + strconv.Itoa(w.Port), "--lld=iscsi"}, args...)...).Run()
	}
	if err := adm("--op=new", "--mode=target", "--tid=1", "--targetname="+x.name(w)); err != nil {
		return err
	}
	if err := adm("--op=new", "--mode=logicalunit", "--tid=1", "--lun=1", "--backing-store="+w.data()); err != nil {
		return err
	}
	if err := newAccount(ctx, tgtSocket(w), w.user(), w.Secret); err != nil {
		return err
	}
	if err := adm("--op=bind", "--mode=account", "--tid=1", "--user="+w.user()); err != nil {
		return err
	}
	return adm("--op=bind", "--mode=target", "--tid=1", "--initiator-address=ALL")
}

// listens waits for the process's socket.
func listens(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, tgtStart)
	defer cancel()
	tick := time.NewTicker(tgtAgain)
	defer tick.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("tgtd does not listen: %w", err)
		}
	}
}

// order is what tgtadm sends to tgtd, as in tgt's usr/tgtadm.h. The numbers are in the host's order.
type order struct {
	Mode, Op   uint32
	Driver     [64]byte
	Length     uint32 // with what follows
	Target     int32
	Session    uint64
	Unit       uint64
	Connection uint32
	Host       uint32
	DeviceType uint32
	Direction  uint32
	Pack       uint32
	Force      uint32
}

const (
	modeAccount = 7
	opNew       = 0
	none        = 1<<64 - 1
)

// newAccount tells tgtd a secret as tgtadm would, to which it can only be given as an argument, for everybody on the host to read.
func newAccount(ctx context.Context, socket, user, secret string) error {
	text := "user=" + user + ",password=" + secret + "\x00"
	o := order{Mode: modeAccount, Op: opNew, Target: -1, Unit: none}
	copy(o.Driver[:], "iscsi")
	o.Length = uint32(binary.Size(o) + len(text))
	var message bytes.Buffer
	if err := binary.Write(&message, binary.NativeEndian, o); err != nil {
		return err
	}
	message.WriteString(text)
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if _, err := conn.Write(message.Bytes()); err != nil {
		return fmt.Errorf("tell tgtd an account: %w", err)
	}
	var answer struct{ Error, Length uint32 }
	if err := binary.Read(conn, binary.NativeEndian, &answer); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, os.ErrClosed) {
			err = fmt.Errorf("it hung up: %w", err)
		}
		return fmt.Errorf("tell tgtd an account: %w", err)
	}
	if answer.Error != 0 {
		return fmt.Errorf("tell tgtd an account: it answers with error %d", answer.Error)
	}
	return nil
}
