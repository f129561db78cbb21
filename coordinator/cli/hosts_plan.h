/* What `sluice plan --hosts` tells: a token's time over several machines, and each one's share. */
#pragma once
#include <jansson.h>
#include "coordinator/hosts/dealt.h"

json_t *hosts_plan_json(const struct dealt *h);
void hosts_plan_print(const struct dealt *h);
