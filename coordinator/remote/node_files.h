/* A plan made on another machine, over the files that lie here. */
#pragma once
#include "proto/base/error.h"
#include "proto/plan.h"

/* Goes into the folder (or that of the file) and looks whether every file of the plan is there with the planned size and header;
 * writes into the plan what the reader knows each file by. All that is missing is named, the first few by name. */
int node_files_take(struct plan_shm *plan, const char *folder, struct error *e);
