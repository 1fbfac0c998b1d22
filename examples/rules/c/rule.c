// Which pods are ready: a mapper in C.
#include "stillhouse.h"

enum { POD, STATUS };
static const sh_field fields[] = {
    [POD] = {T("data.pod"), SH_TEXT}, // a signal without it is rejected
    [STATUS] = {T("data.status"), SH_TEXT, .optional = true},
};

enum { READY, NOT_READY };
static const sh_state states[] = {
    [READY] = {T("ready"), SH_HEALTHY},
    [NOT_READY] = {T("not-ready"), SH_PROBLEM},
};

static sh_answer map(const sh_row *signal) {
  sh_text pod = sh_get_text(signal, POD);
  if (sh_is(signal, STATUS, T("ready"))) return sh_observe(READY, pod);
  if (sh_is(signal, STATUS, T(""))) return sh_with_severity(sh_observe(NOT_READY, pod), SH_ERROR);
  return sh_dropped(T("not about readiness"));
}

#define STATUS_IS(status) GIVEN({T("data.pod"), T("shop/cart-1")}, {T("data.status"), T(status)})
static const sh_case cases[] = {
    {T("ready"), STATUS_IS("ready"), {.state = T("ready"), .key = T("shop/cart-1")}},
    {T("not ready"), STATUS_IS(""), {.state = T("not-ready"), .severity = SH_ERROR, .key = T("shop/cart-1")}},
    {T("another status"), STATUS_IS("starting"), {SH_DROPPED, .reason = T("not about readiness")}},
};

const sh_mapper sh_rule = {
    .name = T("probe"),
    .version = T("0.1.0"),
    .schema = 1,
    .fields = LIST(fields),
    .states = LIST(states),
    .cases = LIST(cases),
    .map = map,
};
