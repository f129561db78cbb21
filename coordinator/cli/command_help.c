/* sluice help, sluice completion: the option table, printed. */
#include "coordinator/cli/commands.h"

#include "coordinator/cli/help.h"
#include "coordinator/view/terminal.h"

int command_help(const struct options *o, struct error *e)
{
    (void)e;
    help_print(stdout, o->help_topic, terminal_columns(1, 100), terminal_color(1));
    return 0;
}

int command_completion(const struct options *o, struct error *e)
{
    (void)e;
    completion_print(stdout, o->shell);
    return 0;
}
