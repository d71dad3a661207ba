package bench
import ("testing";"fmt";"os")
func TestProf(t *testing.T){
 for range 2 {
 for _, n := range []int{8,64} {
 for _, s := range []Setup{{"async","async",os.Getenv("LV")}} {
  r, err := Inserts(t.Context(), s, t.TempDir(), n, 80000)
  if err!=nil {t.Fatal(err)}
  fmt.Println(n,s.Name,s.Level,int(r.PerSecond()), r.Percentile(50), r.Percentile(99), r.Percentile(99.9), r.Window, r.Syncs)
 }}}
}
