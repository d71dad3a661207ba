package memory

import (
	"context"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
)

// limit is what holds for a type, and how many of it may be claimed at once.
type limit struct {
	tasks.TypeLimits
	tokens float64
	filled time.Time
}

func (l *limit) at(now time.Time) float64 {
	return min(max(1, l.PerSecond), l.tokens+max(0, now.Sub(l.filled)).Seconds()*l.PerSecond)
}

func (l *limit) take(now time.Time) { l.tokens, l.filled = l.at(now)-1, now }

// open needs mu.
func (d *DB) open(t tasks.Type) bool {
	l := d.limits[t]
	if l == nil {
		return true
	}
	running := 0
	for _, of := range d.tasks {
		if of.Type == t && of.lease != "" {
			running++
		}
	}
	return !l.Paused && (l.PerSecond == 0 || l.at(d.now()) >= 1) && (l.Running == 0 || running < l.Running)
}

func (b *backend) SetLimits(ctx context.Context, t tasks.Type, to tasks.TypeLimits) error {
	if err := b.begin(ctx); err != nil {
		return err
	}
	defer b.mu.Unlock()
	l := b.limit(t)
	if l.PerSecond != to.PerSecond {
		l.tokens, l.filled = max(1, to.PerSecond), b.now()
	}
	l.TypeLimits = to
	b.changed("")
	return nil
}

func (b *backend) Pause(ctx context.Context, t tasks.Type, paused bool) error {
	if err := b.begin(ctx); err != nil {
		return err
	}
	defer b.mu.Unlock()
	b.limit(t).Paused = paused
	b.changed("")
	return nil
}

func (b *backend) limit(t tasks.Type) *limit {
	if b.limits[t] == nil {
		b.limits[t] = &limit{}
	}
	return b.limits[t]
}

func (b *backend) Limits(ctx context.Context) (map[tasks.Type]tasks.TypeLimits, error) {
	if err := b.begin(ctx); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	m := map[tasks.Type]tasks.TypeLimits{}
	for t, l := range b.limits {
		m[t] = l.TypeLimits
	}
	return m, nil
}
