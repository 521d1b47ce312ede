// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"fmt"
	"os"
)

// maxLog is the size at which a child's log is renamed to NAME.1, which replaces the one before.
const maxLog = 10 << 20

// cappedLog is a file that never takes more than twice maxLog with its predecessor.
type cappedLog struct {
	path  string
	limit int64
	file  *os.File
	size  int64
}

func openLog(path string, limit int64) (*cappedLog, error) {
	l := &cappedLog{path: path, limit: limit}
	return l, l.open()
}

func (l *cappedLog) open() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	l.file, l.size = f, info.Size()
	return nil
}

// Write appends, after a rotation where the file would grow over its limit.
func (l *cappedLog) Write(p []byte) (int, error) {
	if l.size > 0 && l.size+int64(len(p)) > l.limit {
		if err := l.rotate(); err != nil {
			return 0, err
		}
	}
	n, err := l.file.Write(p)
	l.size += int64(n)
	return n, err
}

func (l *cappedLog) rotate() error {
	if err := l.file.Close(); err != nil {
		return fmt.Errorf("close full log: %w", err)
	}
	if err := os.Rename(l.path, l.path+".1"); err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	return l.open()
}
