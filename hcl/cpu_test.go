package bottlefile
import ("testing";"syscall";"time";"fmt";"runtime")
func cpu() time.Duration { var r syscall.Rusage; syscall.Getrusage(syscall.RUSAGE_SELF,&r); return time.Duration(r.Utime.Nano()+r.Stime.Nano()) }
func TestCPU(t *testing.T) {
	runtime.GOMAXPROCS(1)
	dir := project(t); src := manyBottles(t, dir, 1000)
	h := make([]byte, 1<<20)
	for range 8 {
		a := cpu(); w:=time.Now()
		mustLoad(t, dir, src)
		b := cpu()
		s := 0
		for range 20 { for i := range h { s += int(h[i])*i } }
		fmt.Println("load cpu", b-a, "wall", time.Since(w), "reference loop 20M", cpu()-b, s)
	}
}
