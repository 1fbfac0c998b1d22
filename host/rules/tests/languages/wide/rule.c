// Every kind of field, settings, values, all outcomes, and what must fail.
#include "stillhouse.h"

enum { WHAT, COUNT, LOAD, IS_UP };
static const sh_field fields[] = {
    [WHAT] = {T("data.what"), SH_TEXT},
    [COUNT] = {T("data.count"), SH_INT, .optional = true},
    [LOAD] = {T("data.load"), SH_FLOAT, .optional = true},
    [IS_UP] = {T("data.up"), SH_BOOL, .optional = true},
};

enum { UP, DOWN, GONE };
static const sh_state states[] = {
    [UP] = {T("up"), SH_HEALTHY},
    [DOWN] = {T("down"), SH_PROBLEM},
    [GONE] = {T("gone"), SH_GONE},
};

static sh_text limit;

static bool configure(sh_settings settings, sh_text *why) {
  limit = T("no limit");
  for (uint32_t i = 0; i < settings.size; i++) {
    if (!sh_equal(settings.data[i].name, T("limit"))) return *why = T("expected the setting `limit`"), false;
    limit = settings.data[i].value;
  }
  return true;
}

static sh_answer map(const sh_row *row) {
  int64_t count = sh_get_int(row, COUNT);
  if (sh_is(row, WHAT, T("int")))
    return sh_with_value(sh_observe(UP, T("int")), count > 9 ? T("many") : count < 0 ? T("less than none") : T("few"));
  if (sh_is(row, WHAT, T("float"))) {
    sh_answer down = sh_observe(DOWN, T("float"));
    return sh_get_float(row, LOAD) > 0.5 ? sh_with_severity(down, SH_CRITICAL) : down;
  }
  if (sh_is(row, WHAT, T("bool"))) return sh_observe(sh_get_bool(row, IS_UP) ? UP : GONE, T("bool"));
  if (sh_is(row, WHAT, T("absent")))
    return sh_observe(sh_has(row, COUNT) || sh_has(row, LOAD) || sh_has(row, IS_UP) ? UP : GONE, T("absent"));
  if (sh_is(row, WHAT, T("limit"))) return sh_observe(UP, limit);
  if (sh_is(row, WHAT, T("log"))) return sh_log(T("a line")), sh_observe(UP, T("log"));
  if (sh_is(row, WHAT, T("reasons"))) {
    char *reason = sh_alloc(9);
    for (int i = 0; i < 7; i++) reason[i] = "reason "[i];
    reason[7] = (char)('A' + count / 26);
    reason[8] = (char)('A' + count % 26);
    return sh_rejected((sh_text){reason, 9});
  }
  SH_CHECK(!sh_is(row, WHAT, T("boom")));
  return sh_observe(UP, sh_join(T("other"), sh_get_text(row, WHAT)));
}

static const sh_case cases[] = {
    {T("up"), GIVEN({T("data.what"), T("bool")}, {T("data.up"), T("true")}), {.state = T("up"), .key = T("bool")}},
    {T("down"), GIVEN({T("data.what"), T("float")}, {T("data.load"), T("0.25")}),
     {.state = T("down"), .severity = SH_WARNING, .key = T("float")}},
    {T("gone"), GIVEN({T("data.what"), T("bool")}, {T("data.up"), T("false")}), {.state = T("gone"), .key = T("bool")}},
};

const sh_mapper sh_rule = {
    .name = T("wide"),
    .version = T("1.2.3"),
    .schema = 4,
    .fields = LIST(fields),
    .states = LIST(states),
    .cases = LIST(cases),
    .map = map,
    .configure = configure,
};
