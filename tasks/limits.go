package tasks

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"strconv"
)

// TypeLimits hold for the tasks of a type, in all processes that share the table.
type TypeLimits struct {
	// Paused is whether none are claimed. Those that run go on.
	Paused bool
	// Running is how many are claimed at the same time at most; 0 is any number.
	Running int
	// PerSecond is how many are claimed a second at most, after up to a second's worth at once; 0 is any number.
	PerSecond float64
}

// SetLimits sets what holds for a type from now on.
func (s *Store) SetLimits(ctx context.Context, t Type, l TypeLimits) error {
	if err := s.checkType(t); err != nil {
		return err
	}
	if l.Running < 0 {
		return &InputError{"Running", strconv.Itoa(l.Running), "0 or more"}
	}
	if !(l.PerSecond == 0 || l.PerSecond >= 1e-6 && l.PerSecond <= 1e6) || math.IsNaN(l.PerSecond) {
		return &InputError{"PerSecond", fmt.Sprint(l.PerSecond), "0, or 0.000001 to 1000000"}
	}
	if err := s.checkClock(); err != nil {
		return err
	}
	if err := s.backend.SetLimits(ctx, t, l); err != nil {
		return fmt.Errorf("set limits of %s: %w", t, err)
	}
	return nil
}

// Limits returns what was set for each type by [Store.SetLimits], [Store.Pause] and [Store.Resume].
func (s *Store) Limits(ctx context.Context) (map[Type]TypeLimits, error) {
	m, err := s.backend.Limits(ctx)
	if err != nil {
		return nil, fmt.Errorf("get limits: %w", err)
	}
	return m, nil
}

// Pause keeps workers of all processes from claiming tasks of a type, until [Store.Resume]. The type's other limits stay.
func (s *Store) Pause(ctx context.Context, t Type) error { return s.pause(ctx, t, true) }

// Resume ends [Store.Pause]. Workers notice it within 250ms.
func (s *Store) Resume(ctx context.Context, t Type) error { return s.pause(ctx, t, false) }

func (s *Store) pause(ctx context.Context, t Type, paused bool) error {
	if err := cmp.Or(s.checkType(t), s.checkClock()); err != nil {
		return err
	}
	if err := s.backend.Pause(ctx, t, paused); err != nil {
		return fmt.Errorf("pause %s: %w", t, err)
	}
	return nil
}
