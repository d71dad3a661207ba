package main

import (
	"math"
	"strconv"
	"strings"
)

// short returns a number with three significant digits, and thousands set apart.
func short(v float64) string {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	if math.Abs(v) >= 999.5 {
		return thousands(strconv.FormatFloat(v, 'f', 0, 64))
	}
	digits := max(0, 2-int(math.Floor(math.Log10(math.Abs(v)))))
	s := strconv.FormatFloat(v, 'f', digits, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

func thousands(s string) string {
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// text returns the spread as text, each number divided.
func (s spread) text(by float64, unit string) string {
	median, least, greatest := short(s.Median/by), short(s.Least/by), short(s.Greatest/by)
	if s.Runs == 1 || least == greatest {
		return median + unit
	}
	return median + unit + " (" + least + "–" + greatest + ")"
}
