/* What a run would refuse: everything that it opens is opened here by the same code (batch/parts.h), and every refusal is a
 * finding. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/batch/parts.h"
#include "coordinator/plan/plan.h"
#include "coordinator/verify/verify.h"

static int no_memory(const struct verify *v, struct error *e)
{
    return error_set(e, ENOMEM, "%s: no memory for what is wrong with it", v->folder);
}

static bool is_told(const struct verify *v, const char *text)
{
    for (size_t i = 0; i < v->findings; i++)
        if (!strcmp(v->finding[i].text, text)) return true;
    return false;
}

static void on_tensor_fault(void *arg, const char *file, const char *tensor, const char *text)
{
    struct verify *v = arg;
    size_t n = strlen(v->folder);
    const char *name = file && !strncmp(file, v->folder, n) ? file + n + strspn(file + n, "/") : file;

    v->tensors_wrong = true;
    /* experts of a stack tell of it one by one */
    for (size_t i = 0; i < v->findings; i++)
        if (v->finding[i].kind == FINDING_TENSOR && v->finding[i].tensor && !strcmp(v->finding[i].tensor, tensor))
            return;
    if (verify_find(v, FINDING_TENSOR, name, tensor, "%s: tensor %s %s", file ? file : v->folder, tensor, text))
        v->failed = true;
}

/* Files were told of when their tensors were listed. */
static void on_file_fault(void *arg, const char *file, const char *text)
{
    struct verify *v = arg;

    (void)file;
    (void)text;
    v->tensors_wrong = true;
}

static void on_part_fault(void *arg, enum parts_part part, const struct error *why)
{
    struct verify *v = arg;

    if (part == PARTS_TEMPLATE) v->template_refused = true;
    if (!is_told(v, why->text) && verify_find(v, FINDING_MODEL, NULL, NULL, "%s", why->text)) v->failed = true;
}

/* What no machine could plan, however much memory it had. */
static int judge_plan(struct verify *v, const struct model *m)
{
    struct plan_settings s = {.host_memory = UINT64_C(1) << 50,
                              .host_memory_given = true,
                              .shm_free = UINT64_MAX,
                              .threads = 1,
                              .context = 1};
    struct plan_shm *p = NULL;
    struct error why = {0};
    uint64_t bytes;
    int rc = plan_build(&p, &bytes, model_program(m), &s, &why);

    free(p);
    return rc ? verify_find(v, FINDING_MODEL, NULL, NULL, "%s: %s", v->folder, why.text) : 0;
}

/* A template that can be read may still fail, or refuse every conversation. */
static int judge_template(struct verify *v, struct template *t)
{
    json_t *vars =
        json_pack("{s:[{s:s,s:s}],s:b}", "messages", "role", "user", "content", "Hello", "add_generation_prompt", 1);
    struct error why = {0};
    char *text = NULL;
    size_t bytes;
    int rc = vars ? template_render(t, vars, NULL, &text, &bytes, &why) : -ENOMEM;

    json_decref(vars);
    free(text);
    if (!rc || rc == -ENOMEM) return rc;
    return verify_find(v, FINDING_MODEL, NULL, NULL, "%s: a question alone cannot be asked: %s", v->folder, why.text);
}

static int judge(struct verify *v, const struct parts *p)
{
    const struct model *m = p->model;
    int rc = 0;

    if (m) {
        v->model_known = true;
        snprintf(v->architecture, sizeof v->architecture, "%s", model_program(m)->spec.architecture);
        for (size_t i = 0; i < v->tensors; i++) {
            v->tensor[i].used = model_uses(m, v->tensor[i].name);
            v->tensor[i].left_out = !v->tensor[i].used && model_leaves_out(m, v->tensor[i].name);
        }
        if (!v->tensors_wrong) rc = judge_plan(v, m);
        if (!rc && model_notice(m)) rc = verify_note(v, "%s", model_notice(m));
    }
    if (rc) return rc;
    if (p->template) return judge_template(v, p->template);
    return m && !v->template_refused
               ? verify_note(v, "it has no chat template: a chat continues its text, and run --chat is refused")
               : 0;
}

int verify_open(struct verify *v, const struct source *s, struct error *e)
{
    struct parts_options o = {
        .model = {.tensor_fault = on_tensor_fault, .file_fault = on_file_fault, .fault_arg = v},
        .text = true,
        .template = PARTS_TEMPLATE_IF_ANY,
        .fault = on_part_fault,
        .arg = v,
    };
    struct error why = {0};
    struct parts p;
    int rc = parts_open(&p, s, &o, &why);

    if (!rc && !v->failed) rc = judge(v, &p);
    parts_close(&p);
    return rc || v->failed ? no_memory(v, e) : 0;
}
