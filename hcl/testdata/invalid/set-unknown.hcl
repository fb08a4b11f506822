# set botle.x.machine.cpus=2
# set bottle.y.machine.cpus=2
# set bottle.*.machin.cpus=2
# set bottle.*.machine.cpu=2
# set bottle.*.push[0].tags=["a"]
# set bottle.x.export[1].path=a.tar
# set bottle.x["k"].image=alpine:3
# set bottle.many["adda"].machine.cpus=2
# set bottle.many["ada"].machine.cpu=2
# set bottle.many["ada"].for_each={}
# set bottle.x
# set variable.v.default=1
bottle "many" {
  for_each = toset(["ada", "grace"])
  image    = "alpine:3"
  machine {}
}
bottle "x" {
  image = "alpine:3"
  export {
    path = "out.tar"
  }
  machine {
    cpus = 1
  }
}
# nowhere: Did you mean "bottle"?
# nowhere: No bottle is named "y". There is: many, x.
# nowhere: Did you mean "machine"?
# nowhere: There is no attribute "cpu" in a machine block. Did you mean "cpus"?
# nowhere: bottle.many has no such push block
# nowhere: bottle.x has no such export block
# nowhere: bottle.x has no for_each, so it has no instance "k"
# nowhere: bottle.many has no instance "adda". Did you mean "ada"?
# nowhere: There is no attribute "cpu" in a machine block. Did you mean "cpus"?
# nowhere: for_each is not an instance's
# nowhere: "bottle.x" is not of the form KIND.NAME.ATTRIBUTE=VALUE
# nowhere: No attribute of a "variable" can be set
