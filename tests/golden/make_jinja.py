"""Writes tests/golden/jinja/golden.json: small templates and what Jinja makes of them, with the settings that
transformers gives it. `text` is the result; `error` stands where Jinja refuses.

    python3 tests/golden/make_jinja.py      (needs jinja2 3.1)
"""

import json
import pathlib

from jinja2.exceptions import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

VARIABLES = {
    "s": " Straße, 'quoted' \"text\"\n",
    "empty": "",
    "n": 7,
    "f": 2.5,
    "l": [3, 1, 2],
    "words": ["b", "A", "c", "a"],
    "d": {"b": 1, "a": [1, {"x": None}], "items": "shadow"},
    "people": [{"age": 3, "name": "Ann", "on": True}, {"age": 1, "name": "bob", "on": False}, {"age": 2, "name": "Cy"}],
    "nothing": None,
    "yes": True,
}

TEMPLATES = r"""
{{ s }}|{{ s|trim }}|{{ s.strip() }}|{{ s.lstrip() }}|{{ s.rstrip('\n"') }}|{{ s|length }}
{{ s.upper() }}{{ s|lower }}{{ 'hELLO wORLD, it\'s'|title }}{{ 'hELLO'|capitalize }}{{ 'x y'.title() }}
{{ s[1:3] }}{{ s[-3:] }}{{ s[::-1] }}{{ s[0] }}{{ s[99:] }}{{ s[:-1] }}{{ s[2:-2:2] }}{{ s[5:1:-2] }}
{{ l }}{{ l[0] }}{{ l[-1] }}{{ l[1:] }}{{ l[::-1] }}{{ l[:99] }}{{ l[-99:2] }}{{ l[9]|default('none') }}
{{ d }}|{{ d.b }}|{{ d['b'] }}|{{ d['items'] }}|{{ d.get('zz', 5) }}|{{ d.get('zz') }}|{{ d.keys()|list }}
{{ d.values()|list }}{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }}{% endfor %}
{{ d|tojson }}|{{ d|tojson(indent=2) }}|{{ s|tojson }}|{{ [1, 2.0, none, true, 'é\x01']|tojson }}|{{ {}|tojson(indent=1) }}
{{ [1.0, 1e16, 1e-5, 0.1, 123456789.125, 1e300, -0.0] }}{{ 1 / 3 }}{{ 7 // 2 }}{{ -7 // 2 }}{{ -7 % 3 }}{{ 7 % -3 }}
{{ 2 ** 10 }}{{ 2 ** -1 }}{{ 2.5 * 2 }}{{ 7.5 // 2 }}{{ -7.5 % 2 }}{{ 1 + 1.5 }}{{ 6 / 2 }}{{ 3 - -2 }}{{ -n }}{{ +n }}
{{ true + 1 }}{{ true == 1 }}{{ 1 == 1.0 }}{{ '1' == 1 }}{{ none == false }}{{ [1, 2] == [1, 2] }}{{ (1,) }}{{ (1, 2) }}{{ () }}
{{ 'a' ~ 1 ~ none ~ true ~ [1] }}{{ 'a' + 'b' }}{{ 'ab' * 3 }}{{ [1] * 2 }}{{ [1] + [2] }}{{ 3 * 'x' }}
{{ 'a' + 1 }}
{{ none + 'a' }}
{{ missing + 'a' }}
{{ missing.x }}
{{ missing }}{{ d.missing }}{{ missing|length }}{{ missing|list }}{{ missing is defined }}{{ missing|upper }}|{{ missing ~ 'a' }}
{{ d.missing.x }}
{{ nothing.x is defined }}{{ nothing.x }}{{ nothing }}{{ nothing is none }}{{ not nothing }}
{% for x in nothing %}{% endfor %}
{% for x in missing %}a{% else %}none{% endfor %}
{% for x in 5 %}{% endfor %}
{{ nothing|length }}
{{ 1 < 2 < 3 }}{{ 3 > 2 >= 2 }}{{ 1 in l }}{{ 9 not in l }}{{ 'b' in d }}{{ 'a' in 'abc' }}{{ 'x' in missing }}{{ not 1 in l }}
{{ 1 < 'a' }}
{{ 1 in 5 }}
{{ 1 in 'abc' }}
{{ yes and 'a' }}{{ empty or 'b' }}{{ empty and 'a' }}|{{ 0 or none }}{{ not empty }}{{ 'x' if yes }}{{ 'x' if empty }}{{ 'x' if empty else 'y' if empty else 'z' }}
{{ n is number }}{{ n is integer }}{{ f is float }}{{ s is string }}{{ l is sequence }}{{ d is mapping }}{{ d is iterable }}{{ n is iterable }}
{{ yes is boolean }}{{ yes is true }}{{ 1 is true }}{{ n is odd }}{{ n is even }}{{ n is divisibleby 7 }}{{ n is divisibleby(2) }}{{ n is eq 7 }}{{ n is gt(3) }}
{{ 'a' is in 'abc' }}{{ 1 is in [1, 2] }}{{ s is not none }}{{ not s is none }}{{ none is none }}{{ 'A' is upper }}{{ 'a' is lower }}{{ n is sameas n }}{{ range is callable }}{{ n is ne(8) and n is lt 9 }}
{{ n is unknowntest }}
{{ n|unknownfilter }}
{{ words|sort }}{{ words|sort(reverse=true) }}{{ words|sort(case_sensitive=true) }}{{ l|sort|join('-') }}{{ people|sort(attribute='age')|map(attribute='name')|join(',') }}
{{ words|unique|list }}{{ l|sum }}{{ l|max }}{{ l|min }}{{ words|first }}{{ words|last }}{{ []|first }}{{ l|reverse|list }}{{ 'abc'|reverse }}
{{ people|selectattr('on')|map(attribute='name')|list }}{{ people|rejectattr('on')|map(attribute='name')|list }}{{ people|selectattr('age', 'gt', 1)|list|length }}{{ people|selectattr('name', 'equalto', 'bob')|list }}
{{ l|select('odd')|list }}{{ l|reject('odd')|list }}{{ words|map('upper')|join }}{{ people|map(attribute='zz', default='?')|list }}{{ l|map('string')|list }}
{{ people|sum(attribute='age') }}{{ people|join(', ', attribute='name') }}{{ d|dictsort }}{{ {'b': 1, 'A': 2}|dictsort(by='value') }}
{{ 'a-b-c'.split('-') }}{{ ' a  b '.split() }}{{ 'a-b-c'.split('-', 1) }}{{ 'a-b-c'.rsplit('-', 1) }}{{ ''.split('-') }}{{ ''.split() }}{{ 'a b c'.split(none, 1) }}
{{ 'a\nb\r\nc'.splitlines() }}{{ 'abc'.startswith('ab') }}{{ 'abc'.endswith(('x', 'c')) }}{{ 'aXbX'.replace('X', '-') }}{{ 'aXbX'.replace('X', '-', 1) }}{{ 'ab'|replace('', '.') }}{{ 'aab'|replace('a', 'x', 1) }}
{{ 'ababab'.find('b') }}{{ 'äb'.find('b') }}{{ 'abab'.rfind('b') }}{{ 'a'.find('z') }}{{ 'aaa'.count('a') }}{{ '-'.join(['a', 'b']) }}{{ '12'.isdigit() }}{{ 'a1'.isalpha() }}{{ ''.isalnum() }}
{{ 'xax'.strip('x') }}{{ 'xyax'.lstrip('yx') }}{{ 'prefix'.removeprefix('pre') }}{{ 'prefix'.removesuffix('fix') }}
{{ 'abc'.index('z') }}
{{ 'a'.split('') }}
{{ '3'|int }}{{ ' 42 '|int }}{{ 'x'|int }}{{ 'x'|int(9) }}{{ 3.9|int }}{{ '2.5'|float }}{{ -3|abs }}{{ 2.567|round(2) }}{{ 2.5|round }}{{ 2.1|round(0, 'ceil') }}{{ n|string }}{{ true|int }}
{{ 'a\n\nb'|indent }}|{{ 'a\nb'|indent(2, true) }}|{{ 'a\n\nb'|indent(1, blank=true) }}|{{ 'one two'|wordcount }}{{ '<a>&"\''|e }}{{ '<'|escape }}{{ '<b>'|safe }}
{{ empty|default('x') }}|{{ empty|default('x', true) }}|{{ missing|d(1) }}|{{ nothing|default('y') }}|{{ missing|default }}
{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = i + 10 %}{{ x }}{% endfor %}{{ x }}
{% set ns = namespace(a=1) %}{% for i in range(3) %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}{{ ns.b is defined }}
{% set d2 = d %}{% set d2.b = 5 %}
{% set a, b = [1, 2] %}{{ a }}{{ b }}{% set t = 1, 2 %}{{ t }}
{% set a, b = [1] %}
{% if empty %}a{% elif n == 7 %}b{% else %}c{% endif %}{% if yes %}{% set q = 3 %}{% endif %}{{ q }}
{% for i in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }};{% endfor %}
{% for i in l if i > 1 %}{{ i }}{{ loop.length }}{% else %}none{% endfor %}{% for i in [] %}{% else %}none{% endfor %}
{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}{{ range(2, 9, 3)|list }}{{ range(3, 0, -1)|list }}
{% for i in l %}{{ loop.cycle('a', 'b') }}{{ loop.changed(i > 1) }}{% endfor %}
{% for c in 'äb' %}[{{ c }}]{% endfor %}{% for a, b in [(1, 2), (3, 4)] %}{{ a }}{{ b }}{% endfor %}{% for (a, b) in d.items() %}{{ a }}{% endfor %}
{% for x in [[1, [2]], [3]] recursive %}({% if x is iterable %}{{ loop(x) }}{% else %}{{ x }}{{ loop.depth }}{% endif %}){% endfor %}
{% macro m(a, b='B', c=a) %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, c=2) }}{{ m(b=3, a=4) }}{{ m() }}{{ m('x')|upper }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(z=2) }}
{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(4) }}
{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}in{% endcall %}
{% macro m() %}<{{ caller('x') }}>{% endmacro %}{% call(v) m() %}in{{ v }}{% endcall %}
{% filter upper %}ab{{ n }}c{% endfilter %}{% filter upper|replace('A', 'z') %}abc{% endfilter %}{% set b %}x{{ n }}{% endset %}{{ b }}{% set b | upper %}xy{% endset %}{{ b }}
{% with a=1, b=2 %}{{ a }}{{ b }}{% endwith %}{{ a is defined }}{% raw %}{{ x }}{% endraw %}{# comment #}|{% set j = joiner('+') %}{{ j() }}a{{ j() }}b{{ j() }}c
{{ dict(a=1, b='x') }}{{ {'a': 1, 'a': 2} }}{{ [] }}{{ {} }}{{ [1, 'a', none, true, 1.5, "it's", 'q"', '\t\\'] }}{{ '\u00e9\x41\101\q' }}{{ "a" "b" }}
{{ {[1]: 2} }}
{{ raise_exception('stop') }}
{{ undefinedfunction() }}
{{ n() }}
{{ messages.append(1) }}
{{ l.append(1) }}
{{ d.update({}) }}
{{ ''.__class__ }}|{{ l.__len__ }}
{{ ''.__class__.x }}
{{ 1 if }}
{{ (1, 2 }}
{{ 1 +* 2 }}
{% if %}{% endif %}
{% unknown %}
{% endif %}
{% for i in l %}
{{ 'unterminated }}
{{ 1_000 }}{{ 1e3 }}{{ 1.5e-3 }}{{ 0 }}{{ -1 ** 2 }}{{ 2 ** 3 ** 2 }}{{ 10 - 2 - 3 }}{{ 2 + 3 * 4 }}{{ (2 + 3) * 4 }}{{ not yes == no }}
{{ -3|abs }}{{ (-3)|abs }}{{ 'a'|upper ~ 'b'|upper }}{{ 1 + '2'|int }}{{ yes is true and not no is defined }}{{ l[0] is odd }}{{ d['a'][1].x is none }}{{ d.a.0 }}
""".strip("\n").split("\n")

SPACES = [
    "a\n  {% if true %}\n  b\n  {% endif %}\n c\n",
    "a\n  {%+ if true %}\n  b\n  {%- endif +%}\n c\n",
    "  {{ 1 }}\n  {# c #}\n  {{- 2 -}}  \n\n 3 \n\n",
    "a  {#- c -#}  b  {# c #}\nd",
    "{% for i in [1, 2] %}\n\t{{ i }}\n{% endfor %}\n\n",
    "x {% raw %}\n {{ a }} \n{% endraw %}\ny",
    "x {%- raw -%}\n {{ a }} \n{%- endraw -%}\ny",
    "{{ '}}' }}{{ '%}' }}{{ {'a': {'b': 1}} }}{{ {'a': {}}}}",
    "a\r\nb\rc\n",
    "\n\n",
    "\ufeff{{ 1 }}\u00a0 {%- set x = 1 -%} \u2003 z",
    "{%if 1%}a{%endif%}{{1}}{{-1}}{{ -1-}}\n b",
    "  {% set x = 1 %}  {% set y = 2 %}  \nz",
    "{% if true -%}\n  {{ 1 }}\n{%- endif %}",
    "<{% generation %}a{% endgeneration %}>" if False else "<a>",
]


def render(environment, source):
    def raise_exception(message):
        raise TemplateError(message)

    environment.globals["raise_exception"] = raise_exception
    environment.filters["tojson"] = lambda x, ensure_ascii=False, indent=None, separators=None, sort_keys=False: json.dumps(
        x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    return environment.from_string(source).render(**VARIABLES)


def main():
    cases = []
    for source in TEMPLATES + SPACES:
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        try:
            cases.append({"source": source, "text": render(environment, source)})
        except Exception as error:  # whatever Python raises, a template must not be rendered
            cases.append({"source": source, "error": str(error)})
    folder = pathlib.Path(__file__).parent / "jinja"
    folder.mkdir(exist_ok=True)
    golden = {"variables": VARIABLES, "cases": cases}
    (folder / "golden.json").write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


main()
