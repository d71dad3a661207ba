package taskhttp_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/stretchr/testify/require"
)

// TestOthersChangesAreNotWaitedFor: who asks for a task that is durable is answered though others, that have changed, aren't;
// who asks for one of those, or for one of which that can't be told, waits.
func TestOthersChangesAreNotWaitedFor(t *testing.T) {
	st, disk := onDisk(t)
	s := serveStore(t, st)
	for _, id := range []string{"rests", "changes"} {
		require.NoError(t, st.Create(t.Context(), id, tasks.Form))
	}
	ask := func(id string) <-chan int {
		c := make(chan int, 1)
		go func() {
			resp, _ := s.call(adminToken, "GET", "/tasks/"+id, "")
			c <- resp.StatusCode
		}()
		return c
	}
	waits := func(c <-chan int, what string) {
		t.Helper()
		select {
		case <-c:
			t.Error("it was told before it was durable:", what)
		case <-time.After(30 * time.Millisecond):
		}
	}
	require.NoError(t, st.Settle(t.Context()))
	goOn := disk.stop()
	defer goOn()
	require.NoError(t, st.Update(t.Context(), "changes", tasks.Completed, 1, tasks.Relaxed()))
	// All at the same time, so that they share looks.
	var held, free []<-chan int
	for range 20 {
		held, free = append(held, ask("changes")), append(free, ask("rests"), ask("none"))
	}
	for i, c := range free {
		require.Equal(t, []int{http.StatusOK, http.StatusNotFound}[i%2], <-c)
	}
	<-disk.waits
	for _, c := range held {
		waits(c, "changes")
	}
	goOn()
	for _, c := range held {
		require.Equal(t, http.StatusOK, <-c)
	}

	if raceEnabled {
		return // so many tasks take it 10s
	}
	// More has changed than is looked at, since the last sync that is known of.
	require.NoError(t, st.Settle(t.Context()))
	var many []tasks.NewTask
	for i := range 1100 {
		many = append(many, tasks.NewTask{ID: fmt.Sprint("many-", i), Type: tasks.Form})
	}
	require.Nil(t, st.CreateMany(t.Context(), many, tasks.Relaxed()))
	goOn = disk.stop()
	defer goOn()
	last := ask("rests")
	waits(last, "rests")
	goOn()
	require.Equal(t, http.StatusOK, <-last)
}
