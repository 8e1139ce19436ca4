package index
import ("testing";"context";"os";"time";"runtime/pprof";"syscall")
func cpu() time.Duration { var r syscall.Rusage; syscall.Getrusage(0,&r); return time.Duration(r.Utime.Nano()+r.Stime.Nano()) }
func TestCorpus(t *testing.T) {
	dir:=os.Getenv("CORPUS")
if dir=="" { t.Skip() }
	if p:=os.Getenv("PROF"); p!="" { f,_:=os.Create(p); pprof.StartCPUProfile(f); defer pprof.StopCPUProfile() }
	var b []byte
	for range 3 {
	c:=cpu(); s:=time.Now()
	var err error
	b,err=Build(context.Background(),Options{Dir:dir})
	if err!=nil { t.Fatal(err) }
	t.Log(len(b), time.Since(s), cpu()-c)
	}
	x,err:=Parse(b); if err!=nil { t.Fatal(err) }
	if err:=x.Verify(); err!=nil {t.Fatal(err)}
	t.Log(x.Units(),x.Nodes(),x.Edges(),x.Symbols(),x.Names())
	q:=x.NewQuery()
	st,_:=q.StaleUnits(); t.Log(st)
	why:=map[string]int{}
	for i:=range uint32(x.Symbols()) { s:=q.symbol(i); w:="ok"; if s.why!=0 { w=sympWhy[s.why] } else if s.sympos>0 {w="pos"}; why[w]++
	 if s.why!=0 && s.why!=2 && why[w]<6 { n:=q.node(s.node); u:=q.unit(n.unit); t.Log(w,q.str(n.name), q.str(u.path), q.str(u.object)) } }
	t.Log(why)
	tr,_:=walk(context.Background(),dir); l,_:=tr.links(); t.Log(len(l), l["block/blk-ioc.o"], tr.objects["block/blk-ioc.o"])
	un:=0
	for i:=range uint32(x.Units()) { u:=q.unit(i); if q.str(u.object)=="" {un++; if un<10 {t.Log("unlinked",q.str(u.path))}} }
	t.Log(un)
}
