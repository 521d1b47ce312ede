// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"pgregory.net/rapid"
)

func put(t testing.TB, to *bytes.Buffer, kind frameKind, offset int64, payload []byte) {
	if err := writeFrame(to, kind, offset, payload); err != nil {
		t.Fatal(err)
	}
}

func FuzzFrames(f *testing.F) {
	var good bytes.Buffer
	put(f, &good, frameData, 7, []byte("abc"))
	put(f, &good, frameEnd, 10, make([]byte, checksumSize))
	f.Add(good.Bytes())
	f.Add([]byte{3, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0})
	f.Add([]byte{3, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		frames := &frameReader{r: bytes.NewReader(b)}
		var again bytes.Buffer
		for {
			fr, err := frames.read()
			if err != nil {
				break
			}
			if most, ok := fr.kind.limit(); !ok || len(fr.payload) > most {
				t.Fatalf("kind %d with %d bytes was let through", fr.kind, len(fr.payload))
			}
			put(t, &again, fr.kind, fr.offset, fr.payload)
		}
		if !bytes.HasPrefix(b, again.Bytes()) {
			t.Fatal("frames do not read as they were written")
		}
	})
}

func TestFrameCutAnywhereIsNoFrame(t *testing.T) {
	var whole bytes.Buffer
	put(t, &whole, frameData, 7, []byte("abcdef"))
	for cut := range whole.Len() {
		frames := &frameReader{r: bytes.NewReader(whole.Bytes()[:cut])}
		if _, err := frames.read(); err == nil || (cut > 0 && errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF)) {
			t.Errorf("cut at %d: %v", cut, err)
		}
	}
}

// However writes, sends, acknowledgements and resumptions interleave, what is taken out
// is what was written, in order.
func TestWindowGivesOutWhatWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWindow()
		w.ring = make([]byte, 8) // small, so that it wraps and grows often
		never := func() bool { return true }
		var written, received []byte
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				p := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "p")
				if _, err := w.write(p); err != nil {
					t.Fatal(err)
				}
				written = append(written, p...)
			},
			"send": func(t *rapid.T) {
				b := make([]byte, rapid.IntRange(1, 30).Draw(t, "n"))
				if w.sent == w.end {
					return
				}
				offset, n, _ := w.take(b, func() bool { return false })
				if rapid.Bool().Draw(t, "arrives") && offset == int64(len(received)) {
					received = append(received, b[:n]...)
				}
			},
			"acknowledge": func(t *rapid.T) {
				if !w.acknowledge(int64(len(received))) {
					t.Fatalf("acknowledgement of %d refused", len(received))
				}
			},
			"resume": func(t *rapid.T) {
				if !w.rewind(int64(len(received))) {
					t.Fatalf("resumption at %d refused", len(received))
				}
			},
			"": func(t *rapid.T) {
				if !bytes.HasPrefix(written, received) {
					t.Fatal("what was taken out is not what was written")
				}
				w.take(make([]byte, 1), never)
			},
		})
	})
}
