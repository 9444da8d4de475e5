<?php
// One request to the CRM by php-curl with http_build_query(): the yardstick of the encoding. The address and the token
// come by the environment, so that neither stands in a command line.
function request(array $fields): void
{
    $fields['planfix_token'] = getenv('ORACLE_TOKEN');
    $curl = curl_init(getenv('ORACLE_URL'));
    curl_setopt_array($curl, [
        CURLOPT_POSTFIELDS => http_build_query($fields),
        CURLOPT_RETURNTRANSFER => true,
        CURLOPT_TIMEOUT => 20,
    ]);
    if (curl_exec($curl) === false) {
        fwrite(STDERR, curl_error($curl) . "\n");
        exit(1);
    }
}

// The fields that every event of the scripts has. They send the extension as the company's number too.
function event(string $event, string $phone, string $ext, string $callid, array $more = []): void
{
    $fields = ['cmd' => 'event', 'type' => 'in', 'event' => $event, 'phone' => $phone];
    request($fields + ['diversion' => $ext, 'ext' => $ext, 'callid' => $callid] + $more);
}
