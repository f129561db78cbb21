#!/usr/bin/env python3
"""Writes cases.json: templates (those below and the .jinja files here), variables and what Jinja2 makes of them, in the environment that transformers gives
chat templates.

    pip install jinja2 && python make_cases.py

Each case is {"template", "vars", "text"}, or "error" in place of "text" where Jinja2 (or Python) refuses. The date is
2025-07-10T12:00:00.
"""
import datetime, json, os
import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
env.filters["tojson"] = tojson
env.globals["raise_exception"] = raise_exception
env.globals["strftime_now"] = lambda f: datetime.datetime(2025, 7, 10, 12, 0, 0).strftime(f)

VARS = {
    "s": "Hello, World", "u": "Łódź ünïcode 🦊 ß", "empty": "", "n": 7, "neg": -7, "f": 2.5, "big": 1e20, "small": 1e-7,
    "yes": True, "no": False, "nil": None, "l": [3, 1, 2], "words": ["b", "A", "c", "a"], "none_list": [None, 1, "x", 2.0, True],
    "d": {"b": 1, "a": {"c": [1, 2]}, "items": 5}, "nested": [[1, 2], [3, [4, 5]]], "html": "<a href=\"x\">'&'</a>",
    "users": [{"name": "Ann", "age": 30, "city": "Rome"}, {"name": "bob", "age": 25, "city": "rome"}, {"name": "Cid", "age": 30, "city": "Oslo"}],
    "lines": "one\ntwo\n\nthree\r\nfour", "tree": [{"v": 1, "c": [{"v": 2, "c": []}, {"v": 3, "c": [{"v": 4, "c": []}]}]}, {"v": 5, "c": []}],
    "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": " <think>\nhm\n</think>\n\nYes. "}, {"role": "user", "content": [{"type": "text", "text": "x"}]}],
    "add_generation_prompt": True,
    "tools": [{"type": "function", "function": {"name": "find", "description": "Finds a thing by name; says where it was seen last.", "parameters": {
        "type": "object", "properties": {"what": {"type": "string"}, "kinds": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}},
        "where": {"type": "object", "properties": {"x": {"type": "number"}, "y": {"type": "number"}}, "required": ["x"]}}, "required": ["what"]}}}],
    "floats": [0.1, 1.0, 100000.0, 1e16, 123456789012345680.0, 1e-5, 0.0001, -0.0, 3.141592653589793, 1e300, 5e-324],
    # what Python's json writes and reads beside the standard
    "huge": int(1e30), "minus": -12345678901234567890123, "edge": 2**63, "power": 2**70, "powerf": 2.0**70, "nan": float("nan"), "inf": float("inf"),
    "odd": {"max": int(1e30), "l": [float("nan"), float("-inf"), float("inf"), -0.0, 1e30]},
}

E = []   # expressions: the template is {{ E }}
T = []   # whole templates


def e(text):
    E.extend(line.strip() for line in text.strip().split("\n") if line.strip())


e(r"""
1 + 2 * 3
(1 + 2) * 3
7 // 2
-7 // 2
7 // -2
7 % 3
-7 % 3
7 % -3
-7.5 // 2
-7.5 % 2
7.5 % -2
1 / 2
6 / 3
2 ** 10
2 ** -1
2 ** 3 ** 2
-2 ** 2
2.0 ** 0.5
1 / 0
1 // 0
1 % 0
1.5 + 1
1 + true
true + true
-true
+n
-f
--n
- - n
1 - -1
1e3
1.5e-3
1_000_000
1_0.2_5
0x1f
0b101
0o17
0
00
1e400
"a" + "b"
"a" "b" 'c'
"a" ~ 1 ~ none ~ true ~ 1.0
"a" * 3
3 * "ab"
"a" * -1
[1] + [2]
[1, 2] * 2
(1,) + (2,)
(1, 2) * 2
"a" + 1
1 + "a"
[1] + (2,)
"a" - "b"
{} + {}
none + 1
missing + 1
1 + missing
missing
missing.x
missing["x"]
d.missing
d.missing.x
d["missing"]
nil.x
nil["x"]
nil.x.y
l[10]
l[10].x
l[-1]
l[-3]
l[-4]
l[true]
l["0"]
l[1.0]
l.0
s.0
nested.1.1.0
s[0]
s[-1]
s[100]
u[0]
u[1]
u[-1]
u[13]
u[1:3]
u[::-1]
u[::2]
s[1:4]
s[:-1]
s[-3:]
s[::3]
s[::-2]
s[5:2]
s[10:0:-3]
s[-100:100]
l[1:]
l[:1]
l[::-1]
l[::2]
l[1:100]
l[-2:]
l[5:]
l[2:0:-1]
l[::0]
(1, 2, 3)[1:]
nil[1:]
d[1:]
l["a":]
range(10)[2:5]|list
range(5)
range(1, 10, 3)|list
range(5, 0, -2)|list
range(0)|list
range(1, 2, 0)
range("a")
range(200000)
range(3)[1]
range(3)[-1]
range(3)|length
range(10, 0, -1)|last
1 < 2 < 3
1 < 3 < 2
3 > 2 >= 2 > 1
1 == 1.0
1 == true
"1" == 1
1 != 2
"a" < "b"
"a" < 1
[1, 2] < [1, 3]
[1, 2] < [1, 2, 0]
(1, 2) == (1, 2)
(1, 2) == [1, 2]
{"a": 1} == {"a": 1.0}
{"a": 1, "b": 2} == {"b": 2, "a": 1}
none == none
none == false
missing == missing2
missing == none
missing == ""
missing < 1
1 in [1, 2]
1.0 in [1, 2]
4 in [1, 2]
4 not in [1, 2]
"a" in "cat"
"x" not in "cat"
"" in ""
1 in "cat"
"b" in d
"x" in d
"x" in missing
1 in nil
1 in 5
missing in [1]
missing in "abc"
"a" in ("a", "b")
2 in range(3)
[1] in [[1], [2]]
not true
not not n
not missing
true and false
1 and 2
0 and 2
0 or 2
"" or "x"
nil or "d"
missing or "d"
1 or missing.x
0 and missing.x
true and not false or false
1 if true else 2
1 if false else 2
1 if false
(1 if false) is defined
1 if false else 2 if false else 3
"a" if missing else "b"
(1 if false).x
[1, "a", none, true, 1.5, [2], (3,), {"k": "v"}]
()
(1,)
(1, 2)
1, 2
[]
{}
[1, 2,]
{"a": 1, "b": [1, 2], 3: 4, none: 5,}
{"a": 1, "a": 2}
{1: "a", true: "b", 1.0: "c"}
{[1]: 2}
{(1, 2): 3}[(1, 2)]
d
users
html
u
[u, html, "it's", 'say "x"', "both ' and \"", "\t\n\\\x00\x7f\u200b"]
none_list
floats
floats|join(" ")
big
small
1.0
100.0
1e15
1e16
1.5e300
0.1 + 0.2
1e22 + 0
"\n\t\\\"\'\x41\u00e9\101\q"
"\x4"
"\u12"
d.items
d["items"]
d.items()
d.items()|list
d.keys()|list
d.values()|list
d.keys()
d.get("b")
d.get("zz")
d.get("zz", 3)
d.get("zz") is none
d.items()|length
d.items()[0]
d.a.c[1]
d["a"]["c"][-1]
d|length
d|list
d|first
d|last
d.copy().b
d.pop("b")
d.pop
d.update({"x": 1})
d.update
d.clear is defined
d.setdefault("a", 1)
l.append(4)
l.append
l.sort()
l.pop()
l.index(2)
l.index(9)
l.count(1)
l.copy()
(1, 2, 1).count(1)
(1, 2).index(2)
s.upper()
s.lower()
u.upper()
u.lower()
"straße ŉ ﬁ".upper()
"ΑΣ ΑΣΑ Σ".lower()
s.title()
"they're bill's 3rd x".title()
s.capitalize()
"ǆabc".capitalize()
s.swapcase()
"ß".casefold()
s.strip("Hd")
"  x ".strip() ~ "|"
"  x ".lstrip() ~ "|"
"  x ".rstrip() ~ "|"
"\u00a0 x\u3000".strip()
"xxaxx".strip("x")
"łał".strip("ł")
"abc".strip("")
"abc".strip(1)
"a,b,c".split(",")
"a,b,c".split(",", 1)
"a,b,c".rsplit(",", 1)
"a,b,c".rsplit(",")
" a  b c ".split()
" a  b c ".split(none, 1)
" a  b c ".rsplit(none, 1)
" a  b c ".split(" ")
"a,b,c".split(sep=",", maxsplit=1)
"abc".split("")
"".split()
"".split(",")
"aXXbXXc".rsplit("XX", 1)
lines.splitlines()
lines.splitlines(true)
"".splitlines()
"a\n".splitlines()
"a\x0bb\u2028c\x85d".splitlines()
s.startswith("Hello")
s.startswith(("x", "He"))
s.startswith("World", 7)
s.endswith("World")
s.endswith(("x", "y"))
s.endswith("lo", 0, 5)
s.startswith(1)
s.find("o")
s.find("o", 5)
s.find("zz")
s.rfind("o")
s.rfind("o", 0, 5)
s.index("W")
s.index("zz")
s.rindex("l")
u.find("ź")
u.find("🦊")
"abc".find("")
"abc".find("", 3)
"abc".find("", 4)
"abc".rfind("")
s.count("l")
s.count("")
u.count("")
s.count("l", 4)
"aaaa".count("aa")
s.replace("l", "L")
s.replace("l", "L", 2)
s.replace("", "-")
"abc".replace("", "-", 2)
u.replace("ü", "u")
s.replace("zz", "y")
", ".join(["a", "b"])
"".join("abc")
",".join([1])
",".join(5)
s.center(20) ~ "|"
"ab".center(5, "*")
"abc".center(6, "*")
"abc".center(8, "é")
"x".ljust(3) ~ "|"
"x".rjust(3, "0")
"x".rjust(3, "ab")
"42".zfill(5)
"-42".zfill(5)
"+1".zfill(1)
"a=b=c".partition("=")
"a=b=c".rpartition("=")
"abc".partition("=")
"abc".rpartition("=")
"prefix".removeprefix("pre")
"suffix".removesuffix("fix")
"abc".removeprefix("x")
"abc".isalpha()
"abc1".isalnum()
"".isalpha()
"123".isdigit()
"²".isdigit()
"²".isdecimal()
"½".isnumeric()
" \t".isspace()
"abc".islower()
"ABC".isupper()
"Abc Def".istitle()
"abc".isascii()
"é".isascii()
"ab_1".isidentifier()
"1a".isidentifier()
"a\n".isprintable()
"{} {}".format(1, "a")
"{0} {1} {0}".format("a", "b")
"{name}".format(name="x")
"{a.b}".format(a={"b": 2})
"{a[b]}".format(a={"b": 2})
"{0[1]}".format([1, 2])
"{:>5}|{:<5}|{:^5}|{:*^5}".format("a", "b", "c", "d")
"{:05d} {:+d} {:x} {:#x} {:b} {:o} {:,}".format(42, 42, 255, 255, 5, 8, 1234567)
"{:.2f} {:10.3f} {:e} {:g} {:%}".format(3.14159, 2.5, 12345.678, 0.00001, 0.25)
"{!r} {!s}".format("a", "b")
"{{}} {}".format(1)
"{".format(1)
"}".format(1)
"{}".format()
"{} {0}".format(1)
"{:{}}".format("a", 4) ~ "|"
"{:.2}".format("abcdef")
"{:d}".format("a")
"{:5}|{:5}".format(1, "a")
"{}".format(none)
"{:>5}".format(none)
"{x}".format_map({"x": 1})
"%s and %s" % ("a", 1)
"%s" % "a"
"%d" % 3.7
"%d" % "a"
"%5d|%-5d|%05d|%+d" % (1, 2, 3, 4)
"%x %X %o %#x" % (255, 255, 8, 255)
"%.2f %5.1f %e %g" % (3.14159, 2.55, 1234.5, 1e-10)
"%r %s" % ("a", none)
"%%"  % ()
"%(a)s-%(b)d" % {"a": "x", "b": 2}
"%s" % (1, 2)
"%s %s" % (1,)
"%c%c" % ("a", 98)
"%5s|%-5s|" % ("a", "b")
"%.2s" % "abcdef"
"%*d" % (5, 1)
"%z" % 1
"%(a)s" % 1
n.bit_length()
f.is_integer()
2.0.is_integer()
s|upper
s|lower
s|title
"foo-bar (baz) qux_x"|title
s|capitalize
5|upper
nil|upper
missing|upper
missing|trim
"  x  "|trim ~ "|"
"xxaxx"|trim("x")
s|length
u|length
l|length
5|length
nil|length
missing|length
d|count
s|first
s|last
l|first
l|last
[]|first
[]|last
missing|first
5|first
l|join
l|join(", ")
users|join(", ", attribute="name")
nil|join
none_list|join("-")
"abc"|join("-")
missing|join(",")
missing|default("x")
nil|default("x")
nil|default("x", true)
""|default("x", true)
missing|d("y")
missing.x|default("z")
d.zz|default("q")
missing|default
false|default("x", boolean=true)
l|list
"abc"|list
d|list
nil|list
5|list
1.5|string
true|string
nil|string ~ "|"
l|string
d|string
"42"|int
" 42 "|int
"4_2"|int
"42.9"|int
"abc"|int
"abc"|int(-1)
"ff"|int(0, 16)
"0xff"|int(0, 16)
"0b11"|int(base=2)
"0x1f"|int(base=0)
"-5"|int
"+5"|int
"- 5"|int
"1e3"|int
"inf"|int
3.99|int
-3.99|int
nil|int
nil|int(7)
l|int
missing|int
true|int
"1.5"|float
"abc"|float
"abc"|float(2.5)
" 1e3 "|float
"inf"|float
"nan"|float
"0x10"|float
"1_000.5"|float
1|float
nil|float
l|float("z")
-5|abs
-5.5|abs
(-5)|abs
-n|abs
"a"|abs
2.5|round
3.5|round
2.675|round(2)
42.55|round
42.55|round(1, "floor")
42.55|round(1, "ceil")
42.41|round(method="ceil")
-2.5|round
1234.5|round(-2)
7|round
7|round(2)
"a"|round
2.5|round(0, "x")
42.55|round|int
l|sort
l|sort(reverse=true)
words|sort
words|sort(case_sensitive=true)
words|sort(true)
users|sort(attribute="age")|map(attribute="name")|list
users|sort(attribute="age,name")|map(attribute="name")|list
users|sort(attribute="age", reverse=true)|map(attribute="name")|list
[1, "a"]|sort
d|sort
[[2, 1], [1, 5]]|sort(attribute=1)
[[2, 1], [1, 5]]|sort(attribute="0")
["a", "A", "b"]|unique|list
["a", "A", "b"]|unique(true)|list
[1, 1.0, true, 2]|unique|list
users|unique(attribute="city")|map(attribute="name")|list
[[1], [1]]|unique|list
l|reverse|list
"abc"|reverse
u|reverse
d|reverse|list
5|reverse
users|map(attribute="name")|list
users|map(attribute="zz")|list
users|map(attribute="zz", default="-")|list
users|map("length")|list
words|map("upper")|join
words|map("replace", "a", "X")|list
words|map("nofilter")|list
words|map|list
[[1, 2], [3]]|map("first")|list
[[1, 2], [3]]|map("sum")|list
users|map(attribute="name")|first
users|map(attribute="name")|length
users|map(attribute="a", foo=1)|list
l|select("odd")|list
l|reject("odd")|list
none_list|select|list
none_list|reject|list
l|select("gt", 1)|list
l|select(">", 1)|list
l|select("divisibleby", 3)|list
l|select("in", [1, 2])|list
l|select("notest")|list
nil|select|list
missing|select|list
users|selectattr("age", "equalto", 30)|map(attribute="name")|list
users|selectattr("age", "==", 30)|map(attribute="name")|list
users|selectattr("name", "in", ["Ann"])|list|length
users|rejectattr("age", "gt", 26)|map(attribute="name")|list
users|selectattr("zz")|list
users|selectattr("zz", "defined")|list
users|selectattr("zz", "undefined")|list|length
users|rejectattr("name")|list
users|selectattr|list
users|selectattr("name.upper")|list|length
d|items|list
missing|items|list
l|items|list
d|dictsort
{"b": 1, "A": 3, "c": 2}|dictsort
{"b": 1, "A": 3, "c": 2}|dictsort(true)
{"b": 1, "A": 3, "c": 2}|dictsort(by="value")
{"b": 1, "A": 3, "c": 2}|dictsort(reverse=true)
{"b": 1}|dictsort(by="x")
l|dictsort
lines|indent
lines|indent(2)
lines|indent(2, true)
lines|indent("> ", true, true)
lines|indent(width=2, blank=true)
""|indent
5|indent
html|escape
html|e|e
html|safe|e
html|forceescape
html|e|forceescape
("<b>"|safe) + "<i>"
"<i>" + ("<b>"|safe)
("<b>"|safe) ~ "<i>"
("<b>%s</b>"|safe) % "<i>"
("<b>"|safe).upper() + "<"
("<b>{}</b>"|safe).format("<i>")
("<"|safe).join(["<", "a"])
("<a>"|safe).replace("a", "<")
["<a>"|safe]
("<a>"|safe) is string
("<a>"|safe) is escaped
"<a>" is escaped
("<a>"|safe)|upper is escaped
("<a>"|safe)[1:] is escaped
["<"|safe, "<"]|join("&")
d|tojson
users|tojson
u|tojson
html|tojson
d|tojson(indent=2)
d|tojson(indent=0)
[]|tojson(indent=2)
{}|tojson(indent=2)
nested|tojson(indent=1)
nested|tojson(indent="--")
u|tojson(ensure_ascii=true)
u|tojson(true)
d|tojson(sort_keys=true)
d|tojson(separators=(",", ":"))
d|tojson(indent=2, separators=(", ", ": "))
d|tojson(false, 2)
floats|tojson
none_list|tojson
(1, 2)|tojson
{1: 2, 1.5: 3, none: 4, true: 5}|tojson
{(1, 2): 3}|tojson
"\x00\x1f\x7f\u2028\"\\/\b\f\n\r\t"|tojson
missing|tojson
d.items()|tojson
range(3)|tojson
range(3)|list|tojson
("<"|safe)|tojson
-0.0|tojson
"inf"|float|tojson
"nan"|float|tojson
d|tojson(indent=none)
d|tojson(foo=1)
l|min
l|max
words|min
words|max
words|max(true)
users|max(attribute="age")
users|min(attribute="name")
[]|max
[1, "a"]|max
l|sum
users|sum(attribute="age")
users|sum("age", 100)
["a"]|sum
["a"]|sum(start="")
[[1], [2]]|sum(start=[])
[1.5, 2]|sum
l|batch(2)|list
l|batch(2, "x")|list
range(7)|slice(3)|list
range(7)|slice(3, "x")|list
range(2)|slice(0)|list
users|groupby("city")|map("first")|list
users|groupby("city")|map(attribute="list")|map("length")|list
users|groupby("city", case_sensitive=true)|map("first")|list
users|groupby("zz", default="?")|map(attribute="grouper")|list
users|groupby("age")|first
s|wordcount
u|wordcount
"foo bar baz qux"|truncate(9)
"foo bar baz qux"|truncate(9, true)
"foo bar baz qux"|truncate(11)
"foo bar baz qux"|truncate(11, false, "...", 0)
"foo bar baz qux"|truncate(2)
u|truncate(5, true, "", 0)
5|truncate
"%s, %s!"|format("a", "b")
"%(x)s"|format(x=1)
"%s"|format("a", x=1)
"a b/c?d=ü&e"|urlencode
{"a b": "c/d", "e": 1}|urlencode
[["a", "b c"]]|urlencode
5|urlencode
"x"|center(5) ~ "|"
s|replace("l", "L")
s|replace("l", "L", 1)
123|replace(2, 5)
s|attr("upper")() 
d|attr("b")
d|attr("b") is defined
s|nofilter
s is notest
s|upper(1)
s|replace("a")
s is defined
missing is defined
missing is undefined
d.zz is defined
d.a.c is defined
nil is defined
nil is none
missing is none
n is number
f is number
yes is number
s is number
n is integer
yes is integer
f is float
n is float
yes is boolean
n is boolean
yes is true
no is false
n is true
s is string
l is string
d is mapping
l is mapping
l is sequence
s is sequence
d is sequence
n is sequence
nil is sequence
missing is sequence
range(3) is sequence
d.items() is sequence
l is iterable
s is iterable
n is iterable
nil is iterable
missing is iterable
d.items() is iterable
(l|map("string")) is iterable
(l|map("string")) is sequence
3 is odd
4 is even
-3 is odd
3.0 is odd
"a" is odd
9 is divisibleby 3
9 is divisibleby(2)
9 is divisibleby 0
n is eq 7
n is equalto(7)
n is ne 7
n is gt 6
n is lessthan 6
n is ge 7
n is le 7
n is in [7]
n is not in [7]
n is not none
n is sameas 7
yes is sameas true
1 is sameas true
l is sameas l
"abc" is lower
"ABC" is upper
"" is lower
1 is lower
s.upper is callable
s is callable
range is callable
missing is callable
"upper" is filter
"nofilter" is filter
"odd" is test
"xx" is test
not s is string
s is string and n is number
n is divisibleby 7 and f is number
n is defined is true
(n is defined) is true
s is not string
namespace(a=1).a
namespace({"a": 1}, b=2).b
namespace(a=1).b
namespace(a=1)["a"]
namespace(a=1)
namespace(a=1) is mapping
dict(a=1, b=2)
dict([("a", 1)], b=2)
dict({"a": 1}).a
dict(1)
dict(d).b
cycler("a", "b").next()
cycler("a", "b").current
cycler()
joiner()()
raise_exception("boom")
raise_exception()
strftime_now("%Y-%m-%d")
strftime_now("%d %B %Y, %A %H:%M:%S %j %p %% %b %a %y")
strftime_now("%-d/%-m") ~ strftime_now("%f%z%Z|")
strftime_now("")
strftime_now(1)
undefined_function()
s()
s.nomethod()
l.nomethod
d.b()
n.foo
s.__class__
s.__class__.__mro__
s["__class__"]
"".__class__.__base__.__subclasses__()
d._private
range(*[1, 4])|list
range(*l)
dict(**{"a": 1})
dict(a=1, **{"a": 2})
"{}{}".format(*[1, 2])
"{a}".format(**{"a": 1})
s.replace(*["l", "L"])
s.split(",", maxsplit=0)
s . upper ( )
s|upper|lower|title
(s|upper)[0]
s|upper()[0]
(s|list)[0]
l|map("string")|join("-")|upper
"a|b"|replace("|", "-")
{"a": {"b": {"c": 1}}}.a.b.c
[1, 2, 3][1]
[[1, 2], [3, 4]][1][0]
{"a": [1, {"b": 2}]}["a"][1].b
"x" if n > 5 and s else "y"
"x" if n in l else "y" if s else "z"
(n + 1) ~ "/" ~ (l|length)
n ~ n + 1
1 ~ 2 * 3
1 - 1 ~ 1
not n == 7
not (n == 7)
n == 7 == true
- 3|abs
-3|abs
(-3)|abs
2 * -3
1 +
1 2
(1
[1
{1
{"a"}
"abc
'abc
1 ** 
@
a.
a..b
a[
a|
a is
f(a=1, 2)
f(**a, *b)
f(a=1, a=2)
$x
a b
%
x = 1
if
""")

T += ["{{ 'a\\\nb' }}", r"""a{# comment #}b""", "a{#- c -#}  b", "a \n {#- c -#} \n b", "a\n  {# c #}\nb", "{# unterminated", "{% raw %}{{ x }}{% endraw %}",
      "a {%- raw -%} {{ x }} {%- endraw -%} b", "{% raw %}\n x\n{% endraw %}\nb", "  {% raw %}x{% endraw %}  \n", "{% raw %}x",
      "a\n{% if true %}\nb\n{% endif %}\nc", "a\n  {% if true %}\n  b\n  {% endif %}\nc", "a {% if true %} b {% endif %} c",
      "a\n  {%+ if true %}\n  b\n  {%+ endif %}\nc", "a\n  {% if true +%}\n  b\n  {% endif +%}\nc", "a\n\n  {%- if true -%}\n\n  b\n\n  {%- endif -%}\n\nc",
      "  {{ 1 }}\n  {{- 2 -}}\n  {{ 3 }}\n", "  {{+ 1 }}", "x\n", "x\n\n", "x\r\ny\rz\n", "\n", "", "   ", "{", "{ {", "}}", "%}", "{{ '}}' }}", "{{ {'a': {'b': 1}} }}",
      "{{ {'a': 1}['a'] }}", "{{ 1", "{% if", "{{ 1 %}", "{% if true }}", "{{}}", "{{ }}", "{%%}", "{% %}", "{{ (1 }}", "{{ 1) }}", "{{ [1) }}",
      "{{ 'a\nb' }}", "a\tb\n\t{% if true %}\n\tc\n\t{% endif %}", "{% if true %}a{% endif %}\n\nb", "{{ 1 -}}\n\n x", "{%- set x = 1 -%}\n{{ x }}",
      "{% if true -%}   a   {%- endif %}", "x {{- ' y' }}", "{{- -1 }}", "{{ - 1 }}", "{{-1}}", "{{ 1 - }}", " {#+ c #} x", "a {#- x +#}\n b"]
T += [r"{% if n > 5 %}a{% elif n > 3 %}b{% else %}c{% endif %}", r"{% if n < 5 %}a{% elif n > 3 %}b{% else %}c{% endif %}", r"{% if no %}a{% elif nil %}b{% else %}c{% endif %}",
      "{% if missing %}a{% endif %}b", "{% if [] %}a{% else %}b{% endif %}", "{% if 1, %}a{% endif %}", "{% if true: %}a{% endif %}", "{% if %}a{% endif %}", "{% if 1 %}",
      "{% if 1 %}{% endfor %}", "{% endif %}", "{% else %}", "{% foo %}", "{% if 1 %}a{% else %}b{% else %}c{% endif %}", "{% if 1 %}{% elif 2 %}{% if 3 %}x{% endif %}{% endif %}y",
      "{% for x in l %}{{ x }},{% endfor %}", "{% for x in [] %}{{ x }}{% else %}none{% endfor %}", "{% for x in l %}{{ x }}{% else %}none{% endfor %}",
      "{% for x in l if x > 1 %}{{ loop.index }}/{{ loop.length }}:{{ x }} {% endfor %}", "{% for x in l if x > 9 %}{{ x }}{% else %}none{% endfor %}",
      "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k in d %}{{ k }};{% endfor %}", "{% for c in u %}{{ c }}.{% endfor %}", "{% for x in missing %}a{% else %}b{% endfor %}",
      "{% for x in nil %}{% endfor %}", "{% for x in 5 %}{% endfor %}", "{% for a, b in nested %}{{ a }}-{{ b }} {% endfor %}", "{% for a, b in l %}{% endfor %}", "{% for a, b in [[1,2,3]] %}{% endfor %}",
      "{% for a, (b, c) in [[1,[2,3]]] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
      "{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }} {% endfor %}",
      "{% for x in l %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {% endfor %}", "{% for x in l %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }} {% endfor %}",
      "{% for x in l %}{{ loop.previtem.foo }}{% endfor %}", "{% for x in l %}{{ loop.cycle('a', 'b') }}{% endfor %}", "{% for x in l %}{{ loop.cycle() }}{% endfor %}",
      "{% for x in [1,1,2,2,1] %}{{ loop.changed(x) }} {% endfor %}", "{% for x in l %}{% for y in l %}{{ loop.index }}{% endfor %}{{ loop.index }} {% endfor %}",
      "{% for x in l %}{% set outer = loop %}{% for y in l %}{{ outer.index }}{{ loop.index }} {% endfor %}{% endfor %}", "{{ loop }}", "{{ loop.index }}", "{% for x in l %}{{ loop.foo }}{% endfor %}",
      "{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}", "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
      "{% for x in l %}{% for y in l %}{% if y == 1 %}{% break %}{% endif %}{{ y }}{% endfor %}{{ x }}{% endfor %}", "{% break %}", "{% continue %}", "{% macro m() %}{% break %}{% endmacro %}",
      "{% for x in l %}{% break %}{% else %}e{% endfor %}", "{% for x in l %}{% set y %}a{% break %}{% endset %}{{ y }}{% endfor %}z",
      "{% for x in l %}{% set q = x %}{% endfor %}{{ q }}", "{% set q = 0 %}{% for x in l %}{% set q = q + x %}{{ q }} {% endfor %}{{ q }}", "{% set q = 0 %}{% for x in l %}{{ q }}{% set q = x %}{{ q }} {% endfor %}",
      "{% for x in l %}{% endfor %}{{ x }}", "{% set x = 9 %}{% for x in l %}{{ x }}{% endfor %}{{ x }}", "{% set ns = namespace(t=0) %}{% for x in l %}{% set ns.t = ns.t + x %}{% endfor %}{{ ns.t }}",
      "{% set ns = namespace() %}{% set ns.a = 1 %}{% set ns.b = ns.a + 1 %}{{ ns.a }}{{ ns.b }}{{ ns.c is defined }}", "{% set d.x = 1 %}", "{% set missing.x = 1 %}",
      "{% set ns = namespace(done=false) %}{% for x in [1,2,3,4] if not ns.done %}{{ x }}{% if x == 2 %}{% set ns.done = true %}{% endif %}{% endfor %}",
      "{% set ns = namespace(done=false) %}{% for x in [1,2,3,4] if not ns.done %}{{ x }}{{ loop.last }}{% if x == 2 %}{% set ns.done = true %}{% endif %}{% endfor %}",
      "{% for x in l if loop %}{{ x }}{% endfor %}", "{% for loop in l %}{% endfor %}", "{% for x in l %}{% set loop = 1 %}{% endfor %}",
      "{% for n in tree recursive %}{{ n.v }}{% if n.c %}({{ loop(n.c) }}){% endif %}{% endfor %}", "{% for n in tree recursive %}{{ loop.depth }}{{ loop(n.c) }}{% endfor %}", "{% for n in l %}{{ loop([1]) }}{% endfor %}",
      "{% for n in tree recursive %}{{ n.v }}[{{ loop(n.c) }}]{% else %}-{% endfor %}",
      "{% for x in range(3) %}{{ x }}{% endfor %}", "{% for x in l|sort|reverse %}{{ x }}{% endfor %}", "{% for x in l[1:] %}{{ x }}{% endfor %}", "{% for x in (1,2) %}{{ x }}{% endfor %}", "{% for x in 1, 2 %}{{ x }}{% endfor %}",
      "{% for m in messages %}{{ m.role }}:{{ m['content'] if m.content is string else m.content|map(attribute='text')|join }}\n{% endfor %}",
      "{% for m in messages %}{% if '</think>' in m.content %}{{ m.content.split('</think>')[-1].lstrip('\\n') }}{% endif %}{% endfor %}",
      "{% for g, us in users|groupby('age') %}{{ g }}:{{ us|map(attribute='name')|join(',') }};{% endfor %}", "{% for x in l %}{{ x }}{% if not loop.last %},{% endif %}{% endfor %}",
      "{% for x in l if x is odd recursive %}{{ x }}{% endfor %}", "{% for x in l if x > 1 recursive %}{{ x }}{% endfor %}", "{% set g = l|map('string') %}{{ g|list }}{{ g|list }}", "{% for %}{% endfor %}", "{% for x %}{% endfor %}", "{% for 1 in l %}{% endfor %}", "{% for x in l %}",
      "{% for a.b in l %}{% endfor %}"]
T += ["{% set x = 1 %}{{ x }}", "{% set x, y = 1, 2 %}{{ x }}{{ y }}", "{% set x, y = [1] %}", "{% set (x, y) = (1, 2) %}{{ x + y }}", "{% set x = 1, 2 %}{{ x }}", "{% set x %}a{{ n }}b{% endset %}{{ x }}|{{ x|length }}",
      "{% set x | upper | replace('A', 'z') %}a{{ n }}b{% endset %}{{ x }}", "{% set x %}{% set y = 1 %}{% endset %}{{ y is defined }}", "{% set ns = namespace() %}{% set ns.x %}abc{% endset %}{{ ns.x }}",
      "{% set n = n + 1 %}{{ n }}", "{% if yes %}{% set z = 1 %}{% endif %}{{ z }}", "{% if no %}{% set n = 1 %}{% endif %}{{ n }}", "{% set x = y = 1 %}", "{% set 1 = 2 %}", "{% set true = 2 %}", "{% set x %}", "{% set x = %}", "{% set x.y.z = 1 %}", "{% set 'a' = 1 %}",
      "{% set x = missing %}{{ x is defined }}{{ x }}", "{% set range = 5 %}{{ range }}", "{% set x = x %}{{ x is defined }}",
      "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a is defined }}", "{% with %}{% set x = 1 %}{{ x }}{% endwith %}{{ x is defined }}", "{% set a = 5 %}{% with a = 1, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}", "{% with a %}{% endwith %}",
      "{% filter upper %}abc{{ n }}{% endfilter %}", "{% filter replace('a', 'b')|upper %}aaa{% endfilter %}", "{% filter nofilter %}a{% endfilter %}", "{% filter upper %}{% set x = 1 %}{% endfilter %}{{ x is defined }}", "{% for x in l %}{% filter upper %}a{% if x == 1 %}{% break %}{% endif %}{% endfilter %}{% endfor %}",
      "{% macro m(a, b=2) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(b=5, a=4) }}", "{% macro m(a) %}[{{ a }}]{% endmacro %}{{ m() }}", "{% macro m(a) %}{{ a.x }}{% endmacro %}{{ m() }}", "{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}",
      "{% macro m(a) %}{% endmacro %}{{ m(c=2) }}", "{% macro m(a) %}{% endmacro %}{{ m(1, a=2) }}", "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}", "{% macro m(a) %}{{ a }}{{ varargs|length }}{{ kwargs.x }}{% endmacro %}{{ m(1, 2, 3, x=4) }}",
      "{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}", "{% macro m(a=1, b) %}{% endmacro %}", "{% macro m(n) %}{{ n }}{% if n > 0 %}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(3) }}", "{% macro m() %}{{ q }}{% endmacro %}{% set q = 1 %}{{ m() }}",
      "{% macro m() %}{% set q = 2 %}{{ q }}{% endmacro %}{% set q = 1 %}{{ m() }}{{ q }}", "{% macro m() %}x{% endmacro %}{{ m }}{{ m.name }}" .replace("{{ m }}", ""), "{% macro m() %}  x  {% endmacro %}{{ m()|trim ~ '|' ~ m()|length }}", "{% macro m(x) %}{% if x %}a{% endif %}{% endmacro %}{{ m(0) == '' }}",
      "{{ m() }}{% macro m() %}x{% endmacro %}", "{% for x in l %}{% macro m() %}{{ x }}{% endmacro %}{{ m() }}{% endfor %}", "{% macro m(x) %}{{ caller() }}{{ x }}{% endmacro %}{% call m(1) %}body{% endcall %}", "{% macro m() %}{{ caller(1, 2) }}{% endmacro %}{% call(a, b) m() %}{{ a }}-{{ b }}{% endcall %}",
      "{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}", "{% macro m() %}x{% endmacro %}{% call m() %}body{% endcall %}", "{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}{% call m() %}{% endcall %}", "{% call 1 %}{% endcall %}", "{% set z = 1 %}{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}{{ z }}{% set z = 2 %}{{ z }}{% endcall %}{{ z }}",
      "{% macro m(caller=none) %}{{ caller is none }}{% endmacro %}{{ m() }}", "{% macro m(x) %}{{ x }}{% endmacro %}{{ [1,2]|map('string')|map('upper')|list }}{{ m(*[3]) }}{{ m(**{'x': 4}) }}", "{% macro m %}{% endmacro %}", "{% macro m() %}", "{% macro 1() %}{% endmacro %}",
      "{% block a %}x{{ n }}{% endblock %}", "{% block a %}x{% endblock a %}y", "{% set q = 1 %}{% block a %}{{ q }}{% endblock %}", "{% generation %}a{{ n }}{% endgeneration %}b", "{% generation %}{% set w = 1 %}{% endgeneration %}{{ w is defined }}", "a\n  {% generation %}\n  b\n  {% endgeneration %}\nc", "{% generation %}a",
      "{% for x in l %}{% generation %}{{ x }}{{ loop.index }}{% endgeneration %}{% endfor %}", "{% print n, s %}", "{% include 'x' %}", "{% import 'x' as y %}", "{% from 'x' import y %}", "{% extends 'x' %}", "{% if no %}{% include 'x' %}{% endif %}ok", "{% autoescape false %}{{ html }}{% endautoescape %}",
      "{% do 1 %}", "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}{{ c.next() }}", "{% set j = joiner('; ') %}{% for x in l %}{{ j() }}{{ x }}{% endfor %}", "{% set j = joiner() %}{{ j() }}{{ j() }}",
      "{% set x = namespace(l=[]) %}{% for y in l %}{% set x.l = x.l + [y * 2] %}{% endfor %}{{ x.l }}", "{% set a = [1] %}{% set b = a %}{{ a is sameas b }}", "{% set x = {'a': 1} %}{{ x.a }}{{ x['b'] }}{{ x.get('b', 2) }}",
      "{% if messages[0]['role'] == 'user' %}u{% endif %}{% if messages[1].role in ['assistant', 'x'] %}a{% endif %}", "{% set loop_messages = messages[1:] %}{{ loop_messages|length }}", "{{ messages[-1].content[0].text }}", "{{ messages|selectattr('role', 'equalto', 'user')|list|last|tojson }}",
      "{{ messages[0].content + missing }}", "{{ messages[5].role }}", "{{ messages[0].role.upper() }}", "{{ 'a' if messages[0].foo is defined else 'b' }}", "{{ bos_token }}{{ bos_token is defined }}",
      "{%- for message in messages -%}\n    {{- '<|' ~ message.role ~ '|>' -}}\n    {%- if message.content is string -%}\n        {{- message.content | trim -}}\n    {%- else -%}\n        {%- for c in message.content -%}{{ c.text }}{%- endfor -%}\n    {%- endif -%}\n{%- endfor -%}",
      "line\n{{ n }}\n{{ missing.x }}", "{% if d is mapping and d.items is callable %}y{% endif %}", "{{ d.items is mapping }}", "{% for k, v in d|items %}{{ k }}{% endfor %}", "{% for k, v in d|dictsort %}{{ k }}{% endfor %}", "{{ users[0].items()|list }}", "{% set x = 'é' %}{{ x }}", "{% set é = 1 %}{{ é }}", "{{ 名前 is defined }}",
      "{{ '%s' % missing }}|{{ '%s' % nil }}", "{{ [missing] }}", "{{ {'a': missing}|string }}", "{{ missing|list }}", "{{ (missing, 1) }}", "{% for x in [[1, 2], [3, 4]] %}{% for y in x %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}",
      "{{ 'a' 'b' ~ 'c' }}", "{{ 'x'.join(['a']) if true }}", "{{ s[n - 7:n] }}", "{{ l[l|length - 1] }}", "{{ (l|sort)[0] }}", "{{ d['a'].c | join('-') }}", "{{ {'a': 1}.items() | list | tojson }}", "{{ not_defined | default(d.zz | default('deep')) }}",
      "{{ users | map(attribute='name') | map('lower') | sort | join(' ') }}", "{{ users | selectattr('age', 'ge', 30) | map(attribute='city') | unique | list }}", "{{ s.split(', ') | map('length') | sum }}", "{{ namespace(a=[1,2]).a[1] }}", "{{ 5 if 0 else 6 if 1 else 7 }}", "{{ [1, 2] | tojson | safe }}", "{{ '\\\\n' }}", "{{ \"\\\"\" }}"]

E += ["huge", "minus", "edge", "nan", "inf", "odd", "odd|tojson", "odd|tojson(indent=2)", "[huge, nan, inf]|string", "huge ~ 'x'", "huge|string|length", "-huge", "-minus", "+huge", "-edge", "(-edge) - 0", "-(-edge)", "huge|abs", "minus|abs",
      "(-9223372036854775807 - 1)|abs", "huge|int", "huge|float", "huge|round", "huge|round(1, 'floor')", "1e30|int", "-1e30|int", "'123456789012345678901234567890'|int", "'-00123456789012345678901234567890'|int", "inf|int", "nan|int", "nan|int(5)",
      "huge is number", "huge is integer", "huge is float", "huge is string", "nan is number", "nan is float", "huge > 3", "3 > huge", "minus < 3", "3 < minus", "huge > minus", "huge >= huge", "huge == huge", "huge != minus", "huge == 1000000000000000019884624838656",
      "huge == 1e30", "huge < 1e30", "huge >= 1e30", "power == powerf", "power >= powerf", "{power: 1}[powerf]", "{powerf: 1}[power]", "{huge: 1}[huge]", "huge < inf", "huge > -inf", "minus > -inf", "minus < inf", "huge > nan", "huge < nan", "nan == nan", "nan in [nan]", "huge in [huge]",
      "huge is eq(huge)", "huge is gt(3)", "huge is sameas(3)", "edge > 9223372036854775807", "edge == 9223372036854775807", "-9223372036854775808 < -9223372036854775807", "99999999999999999999", "-99999999999999999999", "1_000_000_000_000_000_000_000",
      "[3, huge, minus, 1e25]|sort", "[huge, 1]|max", "[huge, minus]|min", "[huge, huge]|unique|list", "huge + 1.5", "1.5 - minus", "huge * 1.0", "huge / 2.0", "not huge", "huge and 1", "huge or 1", "huge if huge else 0", "'%d' % huge", "'%s' % minus", "'%+d' % huge", "'%40d|' % minus",
      "'%.1f' % huge", "'%e' % huge", "'%i' % 1e30", "'%d' % inf", "'{}'.format(huge)", "'{:d}'.format(minus)", "'{:,}'.format(huge)", "'{:>40}'.format(minus)", "'{:+}'.format(huge)", "'{:e}'.format(huge)", "'{:c}'.format(huge)", "'%c' % huge", "'abc'[:huge]", "'abc'[minus:]", "'abc'[::huge]", "[1][huge]",
      "'abc'[::minus]", "range(huge)", "'a'.center(huge)", "[huge, 2]|sum(start=0.5)", "{'k': huge}|items|list", "{'k': huge}|dictsort", "{huge: 'v'}|tojson", "{nan: 'v'}|tojson", "nan|tojson", "inf ~ nan", "nan|round", "inf|round", "inf|abs", "huge|default(1)", "odd.max", "odd['l'][1]", "huge.bit_length is defined"]

UNORDERED = ("<generator", "object at 0x", "<function", "<bound method", "<built-in", "<class", "<listrev", "<jinja2")


def run(template):
    try:
        text = env.from_string(template).render(**json.loads(json.dumps(VARS)))
        if any(u in text for u in UNORDERED):
            return None
        text.encode("utf8")
        return {"template": template, "text": text}
    except Exception as error:
        return {"template": template, "error": f"{type(error).__name__}: {error}"[:160]}


here = os.path.dirname(os.path.abspath(__file__))
T += [open(os.path.join(here, name), encoding="utf8").read() for name in sorted(os.listdir(here)) if name.endswith(".jinja")]
cases = [run("{{ " + x + " }}") for x in E] + [run(x) for x in T]
cases = [c for c in cases if c]
out = os.path.join(here, "cases.json")
with open(out, "w", encoding="utf8") as f:
    f.write('{"vars": ' + json.dumps(VARS, ensure_ascii=False) + ',\n"cases": [\n' +
            ",\n".join(json.dumps(c, ensure_ascii=False) for c in cases) + "\n]}\n")
print(len(cases), "cases,", sum("error" in c for c in cases), "errors")
