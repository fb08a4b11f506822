package draw

import (
	"cmp"
	"slices"
)

// point is a place on the sheet, in pixels from its upper left corner.
type point struct{ x, y float64 }

// box is where a node is drawn.
type box struct {
	point
	width, height float64
}

// sheet is a layout: a box per node, in the order of the graph's nodes, and per
// edge the points that its line passes.
type sheet struct {
	width, height float64
	boxes         []box
	lines         [][]point
}

const (
	charWidth  = 7.3 // of a 12 px monospaced font
	boxPadding = 10
	lineHeight = 16
	rowGap     = 14
	columnGap  = 70
	margin     = 24
	sweeps     = 8
)

// vertex is a node in its column, or a point at which a long edge crosses one.
type vertex struct {
	node    int // -1: a crossing
	column  int
	order   float64 // within the column
	y       float64 // of the middle
	height  float64
	in, out []*vertex
}

// arrange lays the graph out in columns: a node stands right of all that it
// depends on. This is the layered method of Sugiyama, Tagawa and Toda (1981),
// with barycentres for the order in a column; the heights are then the least
// squares fit to the means of the neighbours (isotonic regression).
func arrange(g *Graph) sheet {
	columns, paths := layers(g)
	for i := range sweeps {
		for c := range columns {
			if i%2 == 0 {
				sortColumn(columns[c], func(v *vertex) []*vertex { return v.in })
			} else {
				sortColumn(columns[len(columns)-1-c], func(v *vertex) []*vertex { return v.out })
			}
		}
	}
	for _, col := range columns {
		stack(col, func(*vertex) float64 { return 0 })
	}
	for range sweeps {
		for _, col := range columns {
			stack(col, func(v *vertex) float64 { return meanY(v, v.in, v.out) })
		}
	}
	return place(g, columns, paths)
}

// layers makes the columns, and the vertices that each edge passes.
func layers(g *Graph) (columns [][]*vertex, paths [][]*vertex) {
	at := make(map[string]*vertex, len(g.Nodes))
	add := func(v *vertex) *vertex {
		for len(columns) <= v.column {
			columns = append(columns, nil)
		}
		v.order = float64(len(columns[v.column]))
		columns[v.column] = append(columns[v.column], v)
		return v
	}
	deps := make(map[string][]string, len(g.Nodes))
	for _, e := range g.Edges {
		deps[e.To] = append(deps[e.To], e.From)
	}
	for i, n := range g.Nodes { // each after what it depends on
		v := &vertex{node: i, height: float64(len(n.lines()))*lineHeight + boxPadding}
		for _, d := range deps[n.Address] {
			v.column = max(v.column, at[d].column+1)
		}
		at[n.Address] = add(v)
	}
	for _, e := range g.Edges {
		from, to := at[e.From], at[e.To]
		path := []*vertex{from}
		for c := from.column + 1; c < to.column; c++ {
			path = append(path, add(&vertex{node: -1, column: c}))
		}
		path = append(path, to)
		for i := range path[1:] {
			path[i].out = append(path[i].out, path[i+1])
			path[i+1].in = append(path[i+1].in, path[i])
		}
		paths = append(paths, path)
	}
	return columns, paths
}

// sortColumn brings a column into the order of the means of its neighbours'
// places; what has no neighbours keeps its own.
func sortColumn(col []*vertex, neighbours func(*vertex) []*vertex) {
	means := make(map[*vertex]float64, len(col))
	for _, v := range col {
		means[v] = v.order
		if ns := neighbours(v); len(ns) > 0 {
			sum := 0.0
			for _, n := range ns {
				sum += n.order
			}
			means[v] = sum / float64(len(ns))
		}
	}
	slices.SortStableFunc(col, func(a, b *vertex) int { return cmp.Compare(means[a], means[b]) })
	for i, v := range col {
		v.order = float64(i)
	}
}

// meanY is where a vertex would stand if it were alone with its neighbours.
func meanY(v *vertex, in, out []*vertex) float64 {
	if len(in)+len(out) == 0 {
		return v.y
	}
	sum := 0.0
	for _, n := range in {
		sum += n.y
	}
	for _, n := range out {
		sum += n.y
	}
	return sum / float64(len(in)+len(out))
}

// stack gives the vertices of a column, in their order, places as near as
// possible to the wanted ones without an overlap: the pool-adjacent-violators
// algorithm over the wanted places less the room that those above need.
func stack(col []*vertex, wanted func(*vertex) float64) {
	type pool struct {
		sum   float64
		count int
	}
	mean := func(p pool) float64 { return p.sum / float64(p.count) }
	offsets := make([]float64, len(col))
	var pools []pool
	for i, v := range col {
		if i > 0 {
			offsets[i] = offsets[i-1] + col[i-1].height/2 + v.height/2 + rowGap
		}
		pools = append(pools, pool{wanted(v) - offsets[i], 1})
		for n := len(pools); n > 1 && mean(pools[n-2]) > mean(pools[n-1]); n = len(pools) {
			pools[n-2].sum += pools[n-1].sum
			pools[n-2].count += pools[n-1].count
			pools = pools[:n-1]
		}
	}
	i := 0
	for _, p := range pools {
		for range p.count {
			col[i].y = mean(p) + offsets[i]
			i++
		}
	}
}

// place turns columns and heights into boxes and lines.
func place(g *Graph, columns [][]*vertex, paths [][]*vertex) sheet {
	s := sheet{boxes: make([]box, len(g.Nodes))}
	top := 0.0
	for _, col := range columns {
		for _, v := range col {
			top = min(top, v.y-v.height/2)
		}
	}
	left := make([]float64, len(columns))
	right := make([]float64, len(columns))
	x := float64(margin)
	for c, col := range columns {
		left[c], right[c] = x, x
		for _, v := range col {
			v.y += margin - top
			s.height = max(s.height, v.y+v.height/2+margin)
			if v.node < 0 {
				continue
			}
			width := 0.0
			for _, l := range g.Nodes[v.node].lines() {
				width = max(width, float64(len([]rune(l)))*charWidth)
			}
			b := box{point{x, v.y - v.height/2}, width + 2*boxPadding, v.height}
			s.boxes[v.node] = b
			right[c] = max(right[c], x+b.width)
		}
		s.width = right[c] + margin
		x = right[c] + columnGap
	}
	for _, path := range paths {
		from := s.boxes[path[0].node]
		line := []point{{from.x + from.width, path[0].y}}
		if right[path[0].column] > line[0].x { // straight out of a narrow box's column
			line = append(line, point{right[path[0].column], path[0].y})
		}
		for _, v := range path[1 : len(path)-1] {
			line = append(line, point{left[v.column], v.y}, point{right[v.column], v.y})
		}
		last := path[len(path)-1]
		s.lines = append(s.lines, append(line, point{left[last.column], last.y}))
	}
	return s
}
