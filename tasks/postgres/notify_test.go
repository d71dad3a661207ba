package postgres

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestHeard: who waits for a task to claim is told, here and by another process, of what may have made one ready, and of others
// only if it may wait for any; and when a lease that it was told of has ended.
func TestHeard(t *testing.T) {
	for name, tt := range map[string]struct {
		news    news
		careful bool
		told    bool          // who waits for a task to claim
		after   time.Duration // when he is told otherwise
	}{
		"ready":           {news: news{ids: []string{"a"}, ready: true}, told: true},
		"ended":           {news: news{ids: []string{"a"}}},
		"ended, limited":  {news: news{ids: []string{"a"}}, careful: true, told: true},
		"claimed":         {news: news{ids: []string{"a"}, lease: time.Minute}, after: time.Minute + time.Millisecond},
		"limits have set": {news: news{ids: []string{""}, ready: true}, told: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				closed := func(c <-chan struct{}) bool {
					select {
					case <-c:
						return true
					default:
						return false
					}
				}
				for _, other := range []bool{false, true} {
					from, n := &notifier{backend: &backend{writer: "from"}, poll: time.Second}, &notifier{backend: &backend{writer: "to"}, poll: time.Second, running: true}
					if tt.careful {
						n.mayWaitForAny()
					}
					toClaim, stop := n.wait(toClaim)
					defer stop()
					any, stop := n.wait("")
					defer stop()
					one, stop := n.wait("a")
					defer stop()
					if other {
						from.out.add(tt.news)
						for _, payload := range from.out.take(from.name()) {
							n.heard(payload)
						}
					} else {
						n.tell(tt.news)
					}
					require.True(t, closed(any))
					require.Equal(t, tt.news.ids[0] == "a", closed(one))
					require.Equal(t, tt.told, closed(toClaim))
					if tt.after > 0 {
						time.Sleep(tt.after - 1)
						synctest.Wait()
						require.False(t, closed(toClaim))
						time.Sleep(1)
						synctest.Wait()
						require.True(t, closed(toClaim))
					}
					// What has become of limits is looked at again after a while.
					time.Sleep(4*claimPolls*n.poll + 1)
					later, stop := n.wait("\tclaim")
					defer stop()
					n.tell(news{ids: []string{"a"}})
					require.False(t, closed(later))
				}
			})
		})
	}
}

// TestHeardOfOlder: a process of an older version doesn't say what has become of tasks: one may be ready.
func TestHeardOfOlder(t *testing.T) {
	n := &notifier{backend: &backend{writer: "to"}, running: true}
	c, stop := n.wait(toClaim)
	defer stop()
	n.heard("from\na\nb")
	<-c
}
