# Common to the claims about the memory of very large shapes; sourced after common.sh.

# shape_claim NAME GIB MKMODEL'S FLAGS...: one token of sparse files within a cgroup of GIB, which counts every page.
shape_claim() {
    local name=$1 gib=$2 && shift 2
    build mkmodel
    model "$name" --sparse --shard-gib 5 "$@"
    need_group $((gib << 30))
    run_json s -p "Once" -n 1 --context 512
    [ "$(group_failures)" = 0 ] || { say "the cgroup ran out of memory" && exit 1; }
    field '"%d bytes read, %.1f s" % (d["bytes_read"], d["seconds"])' <"$scratch/s.json" | sed "s/^/$name: /" >&2
    header
    row "$name, one token, peak of all processes together (in a cgroup of $gib GiB, nothing refused)" max "$gib" GiB \
        "$(field 'd["peak_host_bytes"] / 2**30' <"$scratch/s.json")" ""
    row "the token, prompt and start included" - "" s "$(field 'd["seconds"]' <"$scratch/s.json")" ""
}
