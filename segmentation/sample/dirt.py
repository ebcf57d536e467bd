"""How people and clerks write the same address or number in different ways.

Belongs here: macros that dirty an e-mail address or a phone number as real files do. Does not belong
here: which rows get dirty (the module of each feed). Each variant but the typo and the placeholder still
names the same person once normalised.
"""

from segmentation.sample.names import PLACEHOLDER_EMAILS, PLACEHOLDER_PHONES, sql_list
from segmentation.sample.world import World

_MACROS = """
create or replace macro typed_email(address, k, stream) as case below(k, stream || ' address', 48)
    when 0 then upper(address)
    when 1 then ' ' || address || ' '
    when 2 then upper(left(address, 1)) || substr(address, 2)
    when 3 then address || chr(160)
    when 4 then replace(address, '@', chr(65312))
    else address
end;
create or replace macro typed_phone(calling_code, trunk, national_number, k, stream) as
case below(k, stream || ' phone', 8)
    when 0 then case calling_code when '1' then '1' else '00' || calling_code end || ' ' || national_number
    when 1 then '+' || calling_code || ' ' || left(national_number, 3) || '-' || substr(national_number, 4)
    when 2 then '+' || calling_code || ' (' || left(national_number, 3) || ') ' || substr(national_number, 4)
    when 3 then trunk || left(national_number, 3) || ' ' || substr(national_number, 4)
    when 4 then ' ' || trunk || left(national_number, 3) || '/' || substr(national_number, 4)
    else '+' || calling_code || national_number
end;
create or replace macro mistyped(address) as replace(address, '.example', '.exmaple');
create or replace macro placeholder_email(k) as pick({emails}, k, 'placeholder address');
create or replace macro placeholder_phone(k) as pick({phones}, k, 'placeholder phone');
"""


def install_dirt(world: World) -> None:
    """Create the macros `typed_email`, `typed_phone`, `mistyped` and the two for placeholders."""
    world.run(_MACROS.format(emails=sql_list(PLACEHOLDER_EMAILS), phones=sql_list(PLACEHOLDER_PHONES)))
