/*
 * What bindgen reads: Asterisk's headers that the safe floor (src/ast) uses, and our own C surface.
 * build.rs holds the list of names that are let through.
 */
#include "asterisk.h"

#include "asterisk/ast_version.h"
#include "asterisk/bridge.h"
#include "asterisk/app.h"
#include "asterisk/astdb.h"
#include "asterisk/channel.h"
#include "asterisk/cli.h"
#include "asterisk/config.h"
#include "asterisk/devicestate.h"
#include "asterisk/file.h"
#include "asterisk/http.h"
#include "asterisk/logger.h"
#include "asterisk/manager.h"
#include "asterisk/module.h"
#include "asterisk/options.h"
#include "asterisk/parking.h"
#include "asterisk/paths.h"
#include "asterisk/pbx.h"
#include "asterisk/stasis_bridges.h"

#include "include/res_planfix.h"
