package bottlefile
import ("testing";"time";"fmt")
func TestZZ(t *testing.T) {
	for _, src := range []string{
		`k = [for i in range(1000) : tostring(i)]
		 a = [for i in local.k : [for j in local.k : "${i}-${j}"]]`,
		`k = [for i in range(300) : tostring(i)]
		 a = flatten([for i in local.k : [for j in local.k : "${i}-${j}"]])`,
		`k = [for i in range(300) : tostring(i)]
		 a = toset(flatten([for i in local.k : [for j in local.k : "${i}-${j}"]]))`,
		`k = [for i in range(300) : tostring(i)]
		 a = tolist(flatten([for i in local.k : [for j in local.k : "${i}-${j}"]]))`,
		`k = [for i in range(100) : tostring(i)]
		 a = distinct(flatten([for i in local.k : [for j in local.k : "${i}-${j}"]]))`,
		`k = [for i in range(100) : tostring(i)]
		 a = sort(flatten([for i in local.k : [for j in local.k : "${i}-${j}"]]))`,
		`k = [for i in range(100) : tostring(i)]
		 a = keys(merge([for i in local.k : {for j in local.k : "${i}-${j}" => 1}]...))`,
		`k = [for i in range(300) : tostring(i)]
		 a = merge([for i in local.k : {for j in local.k : "${i}-${j}" => 1}]...)`,
		`k = [for i in range(300) : tostring(i)]
		 a = setproduct(local.k, local.k)`,
		`k = [for i in range(300) : tostring(i)]
		 a = setunion([for i in local.k : toset([for j in local.k : "${i}-${j}"])]...)`,
	} {
		s := time.Now()
		_, d := load(t, "/tmp", "locals {\n"+src+"\n}", nil)
		fmt.Println(src, time.Since(s), d)
	}
}
