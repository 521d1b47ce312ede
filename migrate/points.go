// SPDX-License-Identifier: Apache-2.0

package migrate

// Points at which a process can be made to die: before and after each phase of a
// move, and between the steps of the cut-over that leave something behind.
const (
	BeforePreparing = "before:preparing"
	AfterPreparing  = "after:preparing"
	BeforeCopying   = "before:copying"
	AfterCopying    = "after:copying"
	BeforeCutting   = "before:cutting"
	AfterStop       = "cutting:stopped"
	AfterRelease    = "cutting:released"
	AfterNote       = "cutting:noted"
	BeforeHandOver  = "before:handed-over"
	AfterHandOver   = "after:handed-over"
	BeforeResume    = "before:resume"
	AfterMount      = "resume:mounted"
	AfterStart      = "resume:started"
	BeforeCommit    = "before:committed"
	AfterCommit     = "after:committed"
	AfterExpose     = "after:exposed"
	BeforeCleaned   = "before:cleaned"
	AfterCleaned    = "after:cleaned"
	BeforeAbort     = "before:aborted"
	AfterAbort      = "after:aborted"
)

// SourcePoints are those that the source passes in a move that succeeds, in order.
func SourcePoints() []string {
	return []string{
		BeforePreparing, AfterPreparing, BeforeCopying, AfterCopying, BeforeCutting, AfterStop, AfterRelease,
		AfterNote, BeforeHandOver, AfterHandOver, BeforeCleaned, AfterCleaned,
	}
}

// TargetPoints are those that the target passes in a move that succeeds, in order.
func TargetPoints() []string {
	return []string{BeforeResume, AfterMount, AfterStart, BeforeCommit, AfterCommit, AfterExpose}
}

func (n *Node) fault(point string) {
	if n.Fault != nil {
		n.Fault(point)
	}
}
